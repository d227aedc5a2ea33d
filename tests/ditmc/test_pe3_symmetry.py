"""What rotations, reflections and the smallest molecules do to a PE(3) network."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from ditkernels.models.ditmc import sample
from ditkernels.models.ditmc.equivariance import available_impls
from ditkernels.models.ditmc.geometry import center
from tests.support.networks import batch_of, small_network
from tests.support.rotations import random_orthogonal

SMILES = ("CC(=O)Oc1ccccc1C(=O)O", "C", "CCO", "[NH4+]")
NETWORKS = [
    {},
    {"degree": 2},
    {"conditioning": "bond-pair"},
    {"equivariant_norm": "variance"},
    {"target": "velocity", "prior": "gaussian"},
]


def name_of(options):
    return "-".join(str(value) for value in options.values()) or "default"


@pytest.fixture(params=available_impls(small_network("pe3").config))
def pe3_impl(request):
    return request.param


def inputs(batch, seed=1):
    generator = torch.Generator().manual_seed(seed)
    positions = torch.randn(batch.num_atoms, 3, generator=generator, dtype=torch.float64)
    return center(positions, batch), torch.rand(batch.num_molecules, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("options", NETWORKS, ids=name_of)
@pytest.mark.parametrize("determinant", [1, -1])
def test_output_turns_with_the_molecule(options, determinant, pe3_impl):
    model, batch = small_network("pe3", **options), batch_of(*SMILES)
    (positions, t), q = inputs(batch), random_orthogonal(7, determinant)
    output = model(positions, t, batch, impl=pe3_impl)
    assert output.abs().max() > 0.1
    turned = model(positions @ q.T + 3.0, t, batch, impl=pe3_impl)
    assert_close(turned, output @ q.T, atol=1e-9, rtol=0)


@pytest.mark.parametrize("determinant", [1, -1])
def test_parity_broadcast_keeps_rotations_and_loses_reflections(determinant, pe3_impl):
    model, batch = small_network("pe3", parity_broadcast=True, equivariant_norm="variance"), batch_of(*SMILES)
    (positions, t), q = inputs(batch), random_orthogonal(7, determinant)
    output = model(positions, t, batch, impl=pe3_impl)
    error = (model(positions @ q.T, t, batch, impl=pe3_impl) - output @ q.T).abs().max() / output.abs().max()
    assert error < 1e-9 if determinant > 0 else error > 0.02


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("determinant", [1, -1])
def test_conformers_from_a_turned_prior_are_the_turned_conformers(degree, determinant, pe3_impl):
    """50 steps in float32. The network gives a velocity: a random one is a smooth flow, while to follow the estimates
    x1 of an untrained network is to iterate a random map, which amplifies rounding a thousandfold.
    """
    model = small_network("pe3", seed=2, dtype=torch.float32, degree=degree, target="velocity")
    batch = batch_of("CC(=O)NC", "CCO", "O=C=O")
    (x0, _), q = inputs(batch), random_orthogonal(8, determinant)
    conformers, turned = (sample(model, batch, x.float(), steps=50, impl=pe3_impl) for x in (x0, x0 @ q.T))
    assert (conformers - x0).abs().max() > 0.5
    assert_close(turned, conformers @ q.T.float(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("options", NETWORKS, ids=name_of)
@pytest.mark.parametrize("smiles", ["[Na+]", "[H][H]"])
def test_smallest_molecules(options, smiles, pe3_impl):
    model, batch = small_network("pe3", **options), batch_of(smiles)
    positions, t = inputs(batch)
    positions.requires_grad_()
    output = model(positions, t, batch, impl=pe3_impl)
    output.square().sum().backward()
    for x in (output, positions.grad, *(p.grad for p in model.parameters() if p.grad is not None)):
        assert torch.isfinite(x).all()
    if batch.num_atoms == 1:
        assert (output == 0).all()
    else:  # two atoms know no direction but the line through them
        line = positions.detach()[1] - positions.detach()[0]
        assert_close(torch.linalg.cross(output.detach(), line.expand(2, 3)), torch.zeros(2, 3).double())
        assert output.abs().max() > 0


def test_coincident_atoms_have_no_direction(pe3_impl):
    model, batch = small_network("pe3"), batch_of("CCO")
    positions, t = inputs(batch)
    positions[1] = positions[0]
    q = random_orthogonal(9)
    output = model(positions, t, batch, impl=pe3_impl)
    assert torch.isfinite(output).all()
    assert_close(model(positions @ q.T, t, batch, impl=pe3_impl), output @ q.T, atol=1e-9, rtol=0)


def test_positions_enter_through_pairs_alone(pe3_impl):
    """No position embedding of atoms: where all atoms coincide, there is nothing that could point anywhere."""
    model, batch = small_network("pe3"), batch_of("CCO")
    output = model(torch.zeros(batch.num_atoms, 3).double(), torch.rand(1).double(), batch, impl=pe3_impl)
    assert (output == 0).all()
