"""Outputs turn with the atoms: rotations, reflections, translations, and the order of atoms."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ditkernels.so3 import Irreps
from tests.so3_attention.cases import FORMS, VARIANTS, make_batch
from tests.support.rotations import random_orthogonal, turned

SIZES = [5, 1, 3]
LABELLED = [variant for variant in VARIANTS if "+" in make_batch(*variant, [1]).irreps[1]]
UNLABELLED = [variant for variant in VARIANTS if variant not in LABELLED]


def rotated(x, irreps, orthogonal):
    """Tokens (T, M, H, D) in the rotated frame."""
    return turned(x.flatten(2), irreps, orthogonal).view_as(x)


def rotated_batch(batch, orthogonal, irreps=None):
    qk, values, _ = irreps or batch.irreps
    return replace(
        batch,
        query=rotated(batch.query, qk, orthogonal),
        key=rotated(batch.key, qk, orthogonal),
        value=rotated(batch.value, values, orthogonal),
        positions=batch.positions @ orthogonal.mT,
    )


@pytest.mark.parametrize(("irreps", "radial"), VARIANTS)
def test_rotation(impl, irreps, radial):
    batch, q = make_batch(irreps, radial, SIZES, bias=True, cutoff=True), random_orthogonal(1)
    expected = rotated(batch.run(impl), batch.irreps[2], q)
    torch.testing.assert_close(rotated_batch(batch, q).run(impl), expected)


@pytest.mark.parametrize(("irreps", "radial"), LABELLED)
def test_reflection_of_labelled_irreps(impl, irreps, radial):
    batch, q = make_batch(irreps, radial, SIZES, bias=True), random_orthogonal(2, determinant=-1)
    expected = rotated(batch.run(impl), batch.irreps[2], q)
    torch.testing.assert_close(rotated_batch(batch, q).run(impl), expected)


@pytest.mark.parametrize(("irreps", "radial"), LABELLED)
def test_inversion_changes_the_sign_of_odd_irreps(impl, irreps, radial):
    batch = make_batch(irreps, radial, SIZES)

    def signs(text):
        irreps = Irreps(text)
        return torch.tensor([irreps[i].parity for i in irreps.irrep_of_component])[:, None, None]

    qk, values, outputs = map(signs, batch.irreps)
    tokens = {"query": batch.query * qk, "key": batch.key * qk, "value": batch.value * values}
    inverted = replace(batch, **tokens, positions=-batch.positions)
    torch.testing.assert_close(inverted.run(impl), batch.run(impl) * outputs)


@pytest.mark.parametrize(("irreps", "radial"), UNLABELLED)
def test_paths_of_unlabelled_irreps_break_reflections(impl, irreps, radial):
    """They hold the cross products, which no assignment of parities l -> (-1)^l keeps."""
    batch, q = make_batch(irreps, radial, SIZES), random_orthogonal(2, determinant=-1)
    natural = [" ".join(f"{entry}{'+-'[int(entry) % 2]}" for entry in text.split()) for text in batch.irreps]
    expected = rotated(batch.run(impl), natural[2], q)
    found = rotated_batch(batch, q, natural).run(impl)
    assert (found - expected).norm() > 0.05 * expected.norm()


@pytest.mark.parametrize(("irreps", "radial"), VARIANTS)
def test_translation(impl, irreps, radial):
    batch = make_batch(irreps, radial, SIZES)
    shifts = 3 * torch.randn(len(SIZES), 3, dtype=torch.float64)  # each molecule has its own
    moved = replace(batch, positions=batch.positions + shifts.repeat_interleave(torch.tensor(SIZES), 0))
    torch.testing.assert_close(moved.run(impl), batch.run(impl))


@pytest.mark.parametrize(("irreps", "radial"), VARIANTS)
def test_order_of_atoms(impl, irreps, radial):
    batch = make_batch(irreps, radial, [6], mask=True, bias=True, cutoff=True)
    order = torch.randperm(6)
    pairs = (order[:, None] * 6 + order).flatten()
    own = {name: getattr(batch, name)[order] for name in ("query", "key", "value", "positions")}
    own |= {name: getattr(batch, name)[pairs] for name in ("mask", "bias", "cutoff")}
    rows = {name: x[pairs] for name in ("a", "g", "index") if (x := getattr(batch.radial, name, None)) is not None}
    permuted = replace(batch, **own, radial=replace(batch.radial, **rows))
    torch.testing.assert_close(permuted.run(impl), batch.run(impl)[order])


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_gradients_turn_too(impl, irreps, radial):
    batch, q = make_batch(irreps, radial, SIZES, bias=True), random_orthogonal(3)
    cotangent = batch.cotangent()
    _, expected = batch.gradients(impl, cotangent)
    _, found = rotated_batch(batch, q).gradients(impl, rotated(cotangent, batch.irreps[2], q))
    qk, values, _ = batch.irreps
    for name, own in (("query", qk), ("key", qk), ("value", values)):
        expected[name] = rotated(expected[name], own, q)
    expected["positions"] = expected["positions"] @ q.mT
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_rotation_in_low_precision(impl, dtype):
    """The angle enters through positions in float32, so that rounding is that of the tokens."""
    batch, q = make_batch("natural-2", "bernstein", [8]).to(dtype), random_orthogonal(4).float()
    expected = rotated(batch.run(impl).float(), batch.irreps[2], q)
    found = rotated_batch(batch.to(torch.float32), q).to(dtype).run(impl).float()
    assert (found - expected).norm() < 4 * torch.finfo(dtype).eps * expected.norm()
