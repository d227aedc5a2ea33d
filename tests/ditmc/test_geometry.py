"""Centering, alignment and rotations on ragged batches."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from ditkernels.models.ditmc.geometry import center, kabsch_align, random_rotations, rotate
from tests.support.networks import batch_of


def positions(batch, seed=0):
    return torch.randn(batch.num_atoms, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_rotations_are_proper_and_uniform():
    r = random_rotations(4000, torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_close(r @ r.transpose(1, 2), torch.eye(3, dtype=torch.float64).expand(4000, 3, 3))
    assert_close(torch.det(r), torch.ones(4000, dtype=torch.float64))
    # The mean of a uniform rotation is zero; each entry has variance 1/3.
    assert r.mean(0).abs().max() < 4 / (3 * 4000) ** 0.5
    assert_close(r.square().mean(0), torch.full((3, 3), 1 / 3, dtype=torch.float64), atol=0.03, rtol=0)


def test_alignment_undoes_a_rotation_of_each_molecule():
    batch = batch_of("CC(C)O", "CCO", "c1ccccc1")
    target = center(positions(batch), batch)
    turned = rotate(target, random_rotations(3, torch.Generator().manual_seed(1), dtype=torch.float64), batch)
    assert (turned - target).abs().max() > 0.5
    assert_close(kabsch_align(turned, target, batch), target)


def test_alignment_never_mirrors():
    batch = batch_of("CC(C)O")
    target = center(positions(batch), batch)
    mirrored = target * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    aligned = kabsch_align(mirrored, target, batch)
    assert (aligned - target).square().mean() > 1e-2
    # Distances and handedness of the moving molecule are kept.
    assert_close(torch.det(aligned[:3]).sign(), torch.det(mirrored[:3]).sign())
    assert_close(torch.cdist(aligned, aligned), torch.cdist(mirrored, mirrored))


def test_alignment_is_the_best_rotation():
    batch = batch_of("CCN")
    target, moving = (center(positions(batch, seed), batch) for seed in (1, 2))
    best = (kabsch_align(moving, target, batch) - target).square().sum()
    for r in random_rotations(500, torch.Generator().manual_seed(5), dtype=torch.float64):
        assert (moving @ r.T - target).square().sum() >= best - 1e-9


def test_degenerate_molecules_stay_finite():
    batch = batch_of("[H][H]", "[Na+]", "C#C")
    flat = torch.zeros(batch.num_atoms, 3)
    assert_close(kabsch_align(flat, flat, batch), flat)
    line = center(torch.arange(batch.num_atoms).float().unsqueeze(1) * torch.tensor([1.0, 0.0, 0.0]), batch)
    assert_close(kabsch_align(line, line, batch), line, atol=1e-5, rtol=0)
