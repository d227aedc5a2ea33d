"""Receivers without an allowed sender, molecules without atoms, batches without molecules: zeros, never NaN."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.so3_attention.cases import FORMS, VARIANTS, make_batch


def second_gradients(batch, impl, **options):
    """First gradients and gradients of a sum of them, for every leaf."""
    batch = batch.requires_grad()
    leaves = batch.leaves()
    given = {"allow_unused": True, "materialize_grads": True}
    out = batch.run(impl, **options).sin().sum()
    first = torch.autograd.grad(out, list(leaves.values()), create_graph=True, **given)
    total = sum((g * torch.linspace(1, 2, g.numel(), dtype=g.dtype).view_as(g)).sum() for g in first)
    second = torch.autograd.grad(total, list(leaves.values()), **given)
    return dict(zip(leaves, first, strict=True)), dict(zip(leaves, second, strict=True))


@pytest.mark.parametrize(("irreps", "radial"), VARIANTS)
def test_single_atom_that_may_not_see_itself(impl, irreps, radial):
    batch = make_batch(irreps, radial, [1], bias=True)
    assert (batch.run(impl, exclude_self=True) == 0).all()
    for gradients in second_gradients(batch, impl, exclude_self=True):
        for name, gradient in gradients.items():
            assert (gradient == 0).all(), name


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_single_atom_sees_itself_without_a_direction(impl, irreps, radial):
    """Only the paths with J = 0 are left: the output is the value times g and w."""
    batch = make_batch(irreps, radial, [1])
    out = batch.run(impl)
    moved = replace(batch, positions=batch.positions + 1.7)
    torch.testing.assert_close(moved.run(impl), out)
    first, second = second_gradients(batch, impl)
    assert (first["positions"] == 0).all()
    for name in ("query", "key"):  # p = 1 whatever they are
        torch.testing.assert_close(first[name], torch.zeros_like(batch.query), atol=1e-13, rtol=0)
    assert all(gradient.isfinite().all() for gradients in (first, second) for gradient in gradients.values())


@pytest.mark.parametrize(("irreps", "radial"), VARIANTS)
def test_masked_receiver_has_no_output_and_no_gradient(impl, irreps, radial):
    batch = make_batch(irreps, radial, [4, 3], bias=True)
    batch.mask = torch.ones(25, dtype=torch.bool)
    batch.mask[4:8] = False  # receiver 1 of the first molecule
    out = batch.run(impl)
    assert (out[1] == 0).all() and (out[[0, 2, 3, 4, 5, 6]] != 0).any(-1).all()
    first, second = second_gradients(batch, impl)
    assert (first["query"][1] == 0).all() and (first["bias"][4:8] == 0).all()
    for gradients in (first, second):
        for name, gradient in gradients.items():
            assert gradient.isfinite().all(), name


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_receiver_of_forbidden_pairs_only_does_not_pull_on_atoms(impl, irreps, radial):
    """Every pair is forbidden: no output, no gradient of either order."""
    batch = make_batch(irreps, radial, [3], bias=True)
    batch.mask = torch.zeros(9, dtype=torch.bool)
    for gradients in second_gradients(batch, impl):
        for name, gradient in gradients.items():
            assert (gradient == 0).all(), name


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_pair_rows_of_forbidden_pairs_are_never_read(impl, irreps, radial):
    """NaN, or an index out of range, in rows that the mask forbids changes nothing, forward or backward."""
    batch = make_batch(irreps, radial, [3, 2], bias=True)
    batch.mask = torch.rand(13) > 0.4
    cotangent = batch.cotangent()
    expected_out, expected = batch.gradients(impl, cotangent)

    def poisoned(x):
        keep = batch.mask.reshape(-1, *[1] * (x.dim() - 1))
        return torch.where(keep, x, torch.nan if x.is_floating_point() else 99)

    other = batch.with_leaves({n: poisoned(x) for n, x in batch.leaves().items() if n in ("a", "g", "bias")})
    if getattr(batch.radial, "index", None) is not None:
        other = replace(other, radial=replace(other.radial, index=poisoned(batch.radial.index)))
    out, gradients = other.gradients(impl, cotangent)
    torch.testing.assert_close(out, expected_out)
    for name in expected:
        torch.testing.assert_close(gradients[name], expected[name], msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_bias_of_minus_infinity_forbids_a_pair(impl, irreps, radial):
    batch = make_batch(irreps, radial, [4, 3], bias=True)
    allowed = torch.rand(25) > 0.4
    allowed[:4] = False
    cut = batch.with_leaves({"bias": torch.where(allowed[:, None], batch.bias, -torch.inf)})
    batch.mask = allowed
    cotangent = batch.cotangent()
    out, gradients = cut.gradients(impl, cotangent)
    expected_out, expected = batch.gradients("reference", cotangent)
    torch.testing.assert_close(out, expected_out)
    for name in expected:
        torch.testing.assert_close(gradients[name], expected[name], msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("sizes", [[], [0], [0, 0], [0, 3, 0]], ids=str)
@pytest.mark.parametrize(("irreps", "radial"), [*FORMS, ("unlabelled-2", "gaussian"), ("independent", "bessel-scaled")])
def test_empty_molecules_and_batches(impl, irreps, radial, sizes):
    batch = make_batch(irreps, radial, sizes, bias=True, cutoff=True)
    out, gradients = batch.gradients(impl, batch.cotangent())
    assert out.shape == batch.cotangent().shape and out.isfinite().all()
    for name, leaf in batch.leaves().items():
        assert gradients[name].shape == leaf.shape and gradients[name].isfinite().all()
        assert sum(sizes) > 0 or (gradients[name] == 0).all()
