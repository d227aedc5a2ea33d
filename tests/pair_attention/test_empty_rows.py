"""Receivers without an allowed sender, molecules without atoms, batches without molecules: zeros, never NaN."""

from __future__ import annotations

import pytest
import torch

from tests.pair_attention.cases import VARIANTS, make_batch


def second_gradients(batch, impl, **options):
    """Gradients of a sum of squared gradients, for every leaf."""
    batch = batch.requires_grad()
    leaves = batch.leaves()
    first = torch.autograd.grad(batch.run(impl, **options).sin().sum(), list(leaves.values()), create_graph=True)
    total = sum((g * torch.linspace(1, 2, g.numel(), dtype=g.dtype).view_as(g)).sum() for g in first)
    second = torch.autograd.grad(total, list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, first, strict=True)), dict(zip(leaves, second, strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
def test_single_atom_that_may_not_see_itself(impl, variant):
    batch = make_batch(variant, [1], bias=True)
    assert (batch.run(impl, exclude_self=True) == 0).all()
    for gradients in second_gradients(batch, impl, exclude_self=True):
        for name, gradient in gradients.items():
            assert (gradient == 0).all(), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_masked_receiver_has_no_output_and_no_gradient(impl, variant):
    batch = make_batch(variant, [4, 3], bias=True)
    batch.mask = torch.ones(25, dtype=torch.bool)
    batch.mask[4:8] = False  # receiver 1 of the first molecule
    out = batch.run(impl)
    assert (out[1] == 0).all() and (out[[0, 2, 3, 4, 5, 6]] != 0).all()
    first, second = second_gradients(batch, impl)
    assert (first["query"][1] == 0).all() and (first["bias"][4:8] == 0).all()
    for gradients in (first, second):
        for name, gradient in gradients.items():
            assert gradient.isfinite().all(), name


def test_forbidden_pairs_are_never_read(impl):
    """NaN in rows that the mask forbids changes nothing, forward or backward."""
    batch = make_batch("dense", [3, 2])
    batch.mask = torch.rand(13) > 0.4
    cotangent = torch.randn_like(batch.query)
    expected_out, expected = batch.gradients(impl, cotangent)
    rows = batch.mask[:, None]
    poisoned = batch.with_leaves({n: torch.where(rows, x, torch.nan) for n, x in batch.leaves().items() if n in "ab"})
    out, gradients = poisoned.gradients(impl, cotangent)
    torch.testing.assert_close(out, expected_out)
    for name in expected:
        torch.testing.assert_close(gradients[name], expected[name])


def test_bias_of_minus_infinity_forbids_a_pair(impl):
    """A multiplicative cutoff of zero enters as its logarithm."""
    batch = make_batch("table", [4, 3], bias=True)
    allowed = torch.rand(25) > 0.4
    allowed[:4] = False
    cut = batch.with_leaves({"bias": torch.where(allowed[:, None], batch.bias, -torch.inf)})
    batch.mask = allowed
    cotangent = torch.randn_like(batch.query)
    out, gradients = cut.gradients(impl, cotangent)
    expected_out, expected = batch.gradients("reference", cotangent)
    torch.testing.assert_close(out, expected_out)
    for name in expected:
        torch.testing.assert_close(gradients[name], expected[name])


@pytest.mark.parametrize("sizes", [[], [0], [0, 0], [0, 3, 0]], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_empty_molecules_and_batches(impl, variant, sizes):
    batch = make_batch(variant, sizes, bias=True)
    out, gradients = batch.gradients(impl, torch.ones_like(batch.query))
    assert out.shape == batch.query.shape and out.isfinite().all()
    for name, leaf in batch.leaves().items():
        assert gradients[name].shape == leaf.shape and gradients[name].isfinite().all()
        assert sum(sizes) > 0 or (gradients[name] == 0).all()
