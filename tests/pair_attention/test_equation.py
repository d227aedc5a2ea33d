"""Every implementation computes the equation, for every descriptor, size and option, in float64."""

from __future__ import annotations

import pytest
import torch

from tests.pair_attention.cases import VARIANTS, equation, make_batch

OPTIONS = {"plain": {}, "mask": {"mask": True}, "bias": {"bias": True}, "both": {"mask": True, "bias": True}}
BLOCK_EDGES = [1, 2, 15, 16, 17, 31, 33, 40, 65]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_output_is_the_equation(impl, variant, options):
    batch = make_batch(variant, [3, 0, 5, 1], **OPTIONS[options])
    torch.testing.assert_close(batch.run(impl), equation(batch))


@pytest.mark.parametrize("variant", VARIANTS)
def test_scale_and_exclude_self(impl, variant):
    batch = make_batch(variant, [4, 4, 2], bias=True)
    expected = equation(batch, scale=0.7, exclude_self=True)
    torch.testing.assert_close(batch.run(impl, scale=0.7, exclude_self=True), expected)


@pytest.mark.parametrize("variant", ["dense", "table", "projected", "displacement-table"])
def test_gradients_are_those_of_the_equation(impl, variant):
    batch = make_batch(variant, [4, 1, 6], heads=3, width=5, mask=True, bias=True).requires_grad()
    cotangent = torch.randn_like(batch.query)
    leaves = batch.leaves()
    expected = torch.autograd.grad(equation(batch), list(leaves.values()), cotangent)
    _, found = batch.gradients(impl, cotangent)
    for name, gradient in zip(leaves, expected, strict=True):
        torch.testing.assert_close(found[name], gradient, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("width", [8, 20])
@pytest.mark.parametrize("variant", ["dense", "table", "projected", "displacement-table"])
def test_block_edges_match_the_reference(op_impl, variant, width):
    batch = make_batch(variant, BLOCK_EDGES, heads=2, width=width)
    assert_like_reference(batch, op_impl)


@pytest.mark.parametrize("variant", ["dense-shared", "table", "projected", "displacement-table"])
def test_181_atoms(op_impl, variant):
    assert_like_reference(make_batch(variant, [181], heads=1, width=8, bias=True), op_impl)


def test_third_derivative_of_the_reference():
    batch = make_batch("displacement-table", [3], bias=True).requires_grad()
    first = torch.autograd.grad(batch.run("reference").square().sum(), batch.query, create_graph=True)[0]
    second = torch.autograd.grad(first.square().sum(), batch.query, create_graph=True)[0]
    third = torch.autograd.grad(second.square().sum(), batch.query)[0]
    assert third.isfinite().all() and third.abs().max() > 0


def test_second_modulations_default_one_by_one(impl):
    """Each missing second tensor of a DisplacementPair is replaced by its own first one."""
    batch = make_batch("displacement-table", [4, 3])
    for name in ("weight_b", "table_b"):
        given = batch.with_leaves({name: None})
        explicit = batch.with_leaves({name: getattr(batch.pair, name.replace("_b", "_a"))})
        torch.testing.assert_close(given.run(impl), explicit.run("reference"))


def assert_like_reference(batch, impl):
    cotangent = torch.randn_like(batch.query)
    out, gradients = batch.gradients(impl, cotangent)
    expected_out, expected = batch.gradients("reference", cotangent)
    torch.testing.assert_close(out, expected_out)
    for name in expected:
        torch.testing.assert_close(gradients[name], expected[name], msg=lambda m, name=name: f"{name}: {m}")
