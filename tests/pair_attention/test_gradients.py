"""First and second derivatives against finite differences, in float64, for every descriptor and every argument."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from tests.pair_attention.cases import VARIANTS, make_batch


def function_of(batch, names, impl, **options):
    def function(*values):
        return batch.with_leaves(dict(zip(names, values, strict=True))).run(impl, **options)

    return function


@pytest.mark.parametrize("variant", VARIANTS)
def test_first_derivatives(impl, variant):
    batch = make_batch(variant, [2, 1], width=2, mask=True, bias=True).requires_grad()
    leaves = batch.leaves()
    for name, leaf in leaves.items():
        assert gradcheck(function_of(batch, [name], impl), (leaf,)), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_second_derivatives(impl, variant):
    batch = make_batch(variant, [3, 1], width=2, bias=True).requires_grad()
    leaves = batch.leaves()
    assert gradgradcheck(
        function_of(batch, list(leaves), impl, exclude_self=True), tuple(leaves.values()), fast_mode=True
    )


@pytest.mark.parametrize("variant", ["dense", "table", "projected", "displacement-table"])
def test_second_derivative_of_one_argument_at_a_time(op_impl, variant):
    """The operators compute only what is asked for: one tensor requires a gradient, all others are constants."""
    batch = make_batch(variant, [3], width=2, bias=True)
    for name, leaf in batch.leaves().items():
        function = function_of(batch, [name], op_impl)
        assert gradgradcheck(function, (leaf.clone().requires_grad_(),), fast_mode=True), name


def test_third_derivative_says_that_it_is_missing(op_impl):
    batch = make_batch("dense", [3]).requires_grad()
    first = torch.autograd.grad(batch.run(op_impl).square().sum(), batch.query, create_graph=True)[0]
    second = torch.autograd.grad(first.square().sum(), batch.query, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="third derivatives are not implemented for pair_attention"):
        torch.autograd.grad(second.sum(), batch.query)


@pytest.mark.parametrize("variant", ["dense", "table", "projected", "displacement-table"])
def test_gradient_with_stride_zero(impl, variant):
    batch = make_batch(variant, [3, 4], bias=True)
    expanded = torch.ones((), dtype=torch.float64).expand(batch.query.shape)
    assert expanded.stride() == (0, 0, 0)
    _, found = batch.gradients(impl, expanded)
    _, expected = batch.gradients("reference", expanded.contiguous())
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])


@pytest.mark.parametrize("variant", ["dense", "table", "projected", "displacement-table"])
def test_runs_are_equal_bit_for_bit(op_impl, variant):
    batch = make_batch(variant, [17, 5, 33], heads=2, width=8, dtype=torch.float32, bias=True)
    cotangent = torch.randn_like(batch.query)
    out, gradients = batch.gradients(op_impl, cotangent)
    for _ in range(19):
        again, again_gradients = batch.gradients(op_impl, cotangent)
        assert torch.equal(again, out)
        assert all(torch.equal(again_gradients[name], gradients[name]) for name in gradients)
