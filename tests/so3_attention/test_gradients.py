"""First and second derivatives against finite differences, in float64, path by path and argument by argument."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from ditkernels.so3 import Irreps, paths
from tests.so3_attention.cases import FORMS, RADIALS, Batch, make_batch, make_radial
from tests.support.layouts import boundaries

# Every path of degrees 0, 1 and 2: (filter degree, degree of the value, degree of the output).
LIST = Irreps.unlabelled(2)
PATHS = [(step.filter_degree, step.value, step.output) for step in paths(LIST, LIST, 3)]


def function_of(batch, names, impl, **options):
    def function(*values):
        return batch.with_leaves(dict(zip(names, values, strict=True))).run(impl, **options)

    return function


def one_path(degree, value, output, radial, sizes=(3,)) -> Batch:
    """A batch with one irrep in each list, in which only one filter degree has a weight."""
    tokens, pairs = sum(sizes), sum(n * n for n in sizes)
    steps = paths(Irreps(str(value)), Irreps(str(output)), degree + 1)
    weights = torch.tensor([float(step.filter_degree == degree) for step in steps], dtype=torch.float64)
    query, key = torch.randn(2, tokens, 3, 1, 2, dtype=torch.float64)
    return Batch(
        query,
        key,
        torch.randn(tokens, 2 * value + 1, 1, 2, dtype=torch.float64),
        torch.randn(tokens, 3, dtype=torch.float64),
        weights[:, None] * torch.randn(2, dtype=torch.float64),
        make_radial(radial, pairs, "1", degree + 1, 2),
        ("1", str(value), str(output)),
        boundaries(list(sizes)),
        bias=torch.randn(pairs, 1, dtype=torch.float64),
    )


@pytest.mark.parametrize("radial", ["dense", "bernstein-scaled"])
@pytest.mark.parametrize("path", PATHS, ids=lambda p: "{}x{}-{}".format(*p))
def test_first_derivatives_of_each_path(impl, path, radial):
    batch = one_path(*path, radial).requires_grad()
    leaves = batch.leaves()
    assert gradcheck(function_of(batch, list(leaves), impl), tuple(leaves.values()), fast_mode=True)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: "{}x{}-{}".format(*p))
def test_second_derivatives_of_each_path(op_impl, path):
    batch = one_path(*path, "bernstein-scaled", (2, 1)).requires_grad()
    names = ("value", "positions", "path_weight", "weight_g", "scaling")
    function = function_of(batch, names, op_impl)
    assert gradgradcheck(function, tuple(batch.leaves()[name] for name in names), fast_mode=True)


@pytest.mark.parametrize("radial", RADIALS)
def test_first_derivatives_of_each_argument(impl, radial):
    batch = make_batch("natural-1", radial, [2, 1], heads=1, width=2, mask=True, bias=True, cutoff=True)
    batch.cutoff = batch.cutoff + 0.1
    batch = batch.requires_grad()
    for name, leaf in batch.leaves().items():
        assert gradcheck(function_of(batch, [name], impl), (leaf,), fast_mode=True), name


@pytest.mark.parametrize(("irreps", "radial"), [*FORMS, ("unlabelled-2", "gaussian"), ("independent", "bessel-scaled")])
def test_second_derivatives(impl, irreps, radial):
    batch = make_batch(irreps, radial, [2, 3], heads=1, width=2, bias=True).requires_grad()
    leaves = batch.leaves()
    function = function_of(batch, list(leaves), impl, exclude_self=True)
    assert gradgradcheck(function, tuple(leaves.values()), fast_mode=True)


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_derivatives_of_one_argument_at_a_time(op_impl, irreps, radial):
    """The operators compute only what is asked for: one tensor requires a gradient, all others are constants."""
    batch = make_batch(irreps, radial, [3], heads=1, width=2, bias=True)
    _, expected = batch.gradients("reference", torch.ones_like(batch.cotangent()))
    for name, leaf in batch.leaves().items():
        leaf = leaf.clone().requires_grad_()
        function = function_of(batch, [name], op_impl)
        torch.testing.assert_close(torch.autograd.grad(function(leaf).sum(), leaf)[0], expected[name], msg=name)
        assert gradgradcheck(function, (leaf,), fast_mode=True), name


def test_third_derivative_says_that_it_is_missing(op_impl):
    batch = make_batch("natural-1", "bernstein", [3]).requires_grad()
    first = torch.autograd.grad(batch.run(op_impl).square().sum(), batch.positions, create_graph=True)[0]
    second = torch.autograd.grad(first.square().sum(), batch.positions, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="third derivatives are not implemented for so3_attention"):
        torch.autograd.grad(second.sum(), batch.positions)


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_gradient_with_stride_zero(impl, irreps, radial):
    batch = make_batch(irreps, radial, [3, 4], bias=True)
    expanded = torch.ones((), dtype=torch.float64).expand(batch.cotangent().shape)
    _, found = batch.gradients(impl, expanded)
    _, expected = batch.gradients("reference", expanded.contiguous())
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], msg=name)


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_shared_tensors_add_their_gradients(impl, irreps, radial):
    """Queries, keys and values may be one tensor."""
    batch = make_batch(irreps, radial, [3])
    separate = replace(batch, key=batch.query, value=batch.query)
    cotangent = batch.cotangent()
    _, parts = separate.gradients(impl, cotangent)
    x = batch.query.clone().requires_grad_()
    out = replace(batch, query=x, key=x, value=x).run(impl)
    expected = parts["query"] + parts["key"] + parts["value"]
    torch.testing.assert_close(torch.autograd.grad(out, x, cotangent)[0], expected)


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_runs_are_equal_bit_for_bit(op_impl, irreps, radial):
    batch = make_batch(irreps, radial, [17, 5, 9], heads=2, width=8, dtype=torch.float32, bias=True)
    cotangent = batch.cotangent()
    out, gradients = batch.gradients(op_impl, cotangent)
    for _ in range(19):
        again, again_gradients = batch.gradients(op_impl, cotangent)
        assert torch.equal(again, out)
        assert all(torch.equal(again_gradients[name], gradients[name]) for name in gradients)
