"""torch.func: vmap over any argument and axis equals a loop, and it composes with grad."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.pair_attention.cases import make_batch

VARIANTS = ("dense", "table", "projected", "displacement-table")


def mapped(batch, name, impl):
    """The function of one argument, three values of it, and its results one by one."""

    def function(value):
        return batch.with_leaves({name: value}).run(impl)

    values = [batch.leaves()[name] * factor for factor in (1.0, 0.5, -0.7)]
    return function, values, torch.stack([function(value) for value in values])


@pytest.mark.parametrize("variant", VARIANTS)
def test_vmap_over_each_argument(impl, variant):
    batch = make_batch(variant, [3, 2], bias=True)
    for name in batch.leaves():
        function, values, expected = mapped(batch, name, impl)
        torch.testing.assert_close(torch.func.vmap(function)(torch.stack(values)), expected, msg=name)


@pytest.mark.parametrize("name", ["query", "a"])
def test_vmap_over_the_last_axis(impl, name):
    batch = make_batch("dense", [3, 2])
    function, values, expected = mapped(batch, name, impl)
    result = torch.func.vmap(function, in_dims=-1, out_dims=1)(torch.stack(values, -1))
    torch.testing.assert_close(result, expected.transpose(0, 1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_vmap_over_everything_at_once(impl, variant):
    batches = [make_batch(variant, [3, 0, 2], bias=True) for _ in range(2)]
    index = getattr(batches[0].pair, "index", None)
    if index is not None:
        batches[1] = replace(batches[1], pair=replace(batches[1].pair, index=index))
    names = list(batches[0].leaves())

    def function(leaves):
        return batches[0].with_leaves(dict(zip(names, leaves, strict=True))).run(impl)

    stacked = [torch.stack([batch.leaves()[name] for batch in batches]) for name in names]
    expected = torch.stack([batch.run(impl) for batch in batches])
    torch.testing.assert_close(torch.func.vmap(function)(stacked), expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_per_sample(impl, variant):
    batch = make_batch(variant, [3, 2], bias=True)
    names = [n for n in batch.leaves() if n not in ("query", "key", "value")]

    def loss(query, leaves):
        return batch.with_leaves({"query": query} | leaves).run(impl).square().sum()

    leaves = {name: batch.leaves()[name] for name in names}
    queries = torch.randn(3, *batch.query.shape, dtype=torch.float64)
    per_sample = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=(0, None))(queries, leaves)
    for i, query in enumerate(queries):
        leaf = batch.with_leaves({"query": query}).requires_grad()
        found = torch.autograd.grad(leaf.run(impl).square().sum(), [leaf.query, *(leaf.leaves()[n] for n in names)])
        torch.testing.assert_close(per_sample[0][i], found[0])
        for name, expected in zip(names, found[1:], strict=True):
            torch.testing.assert_close(per_sample[1][name][i], expected, msg=name)


def test_gradient_of_a_vmap(impl):
    batch = make_batch("dense", [3])
    queries = torch.randn(2, *batch.query.shape, dtype=torch.float64)

    def loss(a):
        outs = torch.func.vmap(lambda q: replace(batch, query=q).with_leaves({"a": a}).run(impl))(queries)
        return outs.square().sum()

    a = batch.pair.a.clone().requires_grad_()
    expected = sum(replace(batch, query=q).with_leaves({"a": a}).run(impl).square().sum() for q in queries)
    torch.testing.assert_close(torch.func.grad(loss)(batch.pair.a), torch.autograd.grad(expected, a)[0])


def test_hessian_by_two_reverse_passes(impl):
    batch = make_batch("table", [2], heads=1, width=2)

    def loss(query):
        return replace(batch, query=query).run(impl).square().sum()

    hessian = torch.func.jacrev(torch.func.grad(loss))(batch.query)
    expected = torch.autograd.functional.hessian(
        lambda q: replace(batch, query=q).run("reference").square().sum(), batch.query
    )
    torch.testing.assert_close(hessian, expected)
