"""torch.func: vmap over any argument and axis equals a loop, and it composes with grad."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.so3_attention.cases import FORMS, make_batch


def mapped(batch, name, impl):
    """The function of one argument, three values of it, and its results one by one."""

    def function(value):
        return batch.with_leaves({name: value}).run(impl)

    values = [batch.leaves()[name] * factor for factor in (1.0, 0.5, 0.7)]
    return function, values, torch.stack([function(value) for value in values])


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_vmap_over_each_argument(impl, irreps, radial):
    batch = make_batch(irreps, radial, [3, 2], bias=True, cutoff=True)
    for name in batch.leaves():
        function, values, expected = mapped(batch, name, impl)
        torch.testing.assert_close(torch.func.vmap(function)(torch.stack(values)), expected, msg=name)


@pytest.mark.parametrize("name", ["query", "positions", "a"])
def test_vmap_over_the_last_axis(impl, name):
    batch = make_batch("natural-1", "dense", [3, 2])
    function, values, expected = mapped(batch, name, impl)
    result = torch.func.vmap(function, in_dims=-1, out_dims=1)(torch.stack(values, -1))
    torch.testing.assert_close(result, expected.transpose(0, 1))


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_vmap_over_everything_at_once(impl, irreps, radial):
    batches = [make_batch(irreps, radial, [3, 0, 2], bias=True) for _ in range(2)]
    index = getattr(batches[0].radial, "index", None)
    if index is not None:
        batches[1] = replace(batches[1], radial=replace(batches[1].radial, index=index))
    names = list(batches[0].leaves())

    def function(leaves):
        return batches[0].with_leaves(dict(zip(names, leaves, strict=True))).run(impl)

    stacked = [torch.stack([batch.leaves()[name] for batch in batches]) for name in names]
    expected = torch.stack([batch.run(impl) for batch in batches])
    torch.testing.assert_close(torch.func.vmap(function)(stacked), expected)


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_gradients_per_sample(impl, irreps, radial):
    batch = make_batch(irreps, radial, [3, 2], bias=True)
    names = [n for n in batch.leaves() if n not in ("query", "key", "positions")]

    def loss(query, positions, leaves):
        return batch.with_leaves({"query": query, "positions": positions} | leaves).run(impl).square().sum()

    leaves = {name: batch.leaves()[name] for name in names}
    queries = torch.randn(3, *batch.query.shape, dtype=torch.float64)
    places = torch.randn(3, *batch.positions.shape, dtype=torch.float64)
    gradient = torch.func.grad(loss, argnums=(0, 1, 2))
    per_sample = torch.func.vmap(gradient, in_dims=(0, 0, None))(queries, places, leaves)
    for i, (query, positions) in enumerate(zip(queries, places, strict=True)):
        leaf = batch.with_leaves({"query": query, "positions": positions}).requires_grad()
        wanted = [leaf.query, leaf.positions, *(leaf.leaves()[n] for n in names)]
        found = torch.autograd.grad(leaf.run(impl).square().sum(), wanted)
        torch.testing.assert_close(per_sample[0][i], found[0])
        torch.testing.assert_close(per_sample[1][i], found[1])
        for name, expected in zip(names, found[2:], strict=True):
            torch.testing.assert_close(per_sample[2][name][i], expected, msg=name)


def test_vmap_over_molecules_without_padding(impl):
    """One molecule per slice equals the batch of them."""
    batch = make_batch("natural-1", "bernstein", [4, 4, 4])
    tokens = {name: getattr(batch, name).unflatten(0, (3, 4)) for name in ("query", "key", "value", "positions")}

    def one(*molecule):
        own = dict(zip(tokens, molecule, strict=True))
        return replace(batch, **own, cu_seqlens=torch.tensor([0, 4])).run(impl)

    result = torch.func.vmap(one)(*tokens.values())
    torch.testing.assert_close(result.flatten(0, 1), batch.run(impl))


def test_hessian_by_two_reverse_passes(impl):
    batch = make_batch("first-block", "bernstein", [3], heads=1, width=2)

    def energy(impl):
        return lambda positions: replace(batch, positions=positions).run(impl).square().sum()

    hessian = torch.func.jacrev(torch.func.grad(energy(impl)))(batch.positions)
    expected = torch.autograd.functional.hessian(energy("reference"), batch.positions)
    torch.testing.assert_close(hessian, expected)
