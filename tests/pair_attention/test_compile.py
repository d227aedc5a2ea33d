"""torch.compile: one graph without breaks, for other shapes too, with the numbers of eager code."""

from __future__ import annotations

import pytest
import torch

from ditkernels import TablePair, pair_attention
from tests.pair_attention.cases import make_batch

VARIANTS = ("dense", "table", "projected-shared", "displacement", "displacement-table")


def compiled(batch, impl, backend):
    names = list(batch.leaves())

    def loss(cu_seqlens, mask, *leaves):
        new = batch.with_leaves(dict(zip(names, leaves, strict=True)))
        new.cu_seqlens, new.mask = cu_seqlens, mask
        return new.run(impl)

    return torch.compile(loss, fullgraph=True, dynamic=True, backend=backend)


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_graph_and_the_same_gradients(op_impl, variant):
    assert_same_gradients(op_impl, variant)


def test_reference_without_pair_tensors_traces_all_token_pairs():
    """Only the values of cu_seqlens say how many pairs there are, and no graph break may read them."""
    assert_same_gradients("reference", "displacement", backend="eager")


def assert_same_gradients(impl, variant, backend="aot_eager"):
    torch._dynamo.reset()
    batch = make_batch(variant, [4, 3, 6]).requires_grad()
    leaves = list(batch.leaves().values())
    cotangent = torch.randn_like(batch.query)
    out = compiled(batch, impl, backend)(batch.cu_seqlens, batch.mask, *leaves)
    expected = batch.run(impl)
    torch.testing.assert_close(out, expected)
    found = torch.autograd.grad(out, leaves, cotangent)
    for gradient, right in zip(found, torch.autograd.grad(expected, leaves, cotangent), strict=True):
        torch.testing.assert_close(gradient, right)


@pytest.mark.slow
def test_inductor_with_dynamic_shapes(op_impl):
    torch._dynamo.reset()

    def attend(query, key, value, index, table_a, table_b, cu_seqlens):
        pair = TablePair(index, table_a, table_b)
        return torch.relu(pair_attention(query, key, value, pair, cu_seqlens=cu_seqlens, impl=op_impl)) * 2

    function = torch.compile(attend, fullgraph=True, dynamic=True)
    for sizes, recompile in (([4, 3, 6], True), ([5, 7], False), ([2, 9, 4, 8], False)):
        batch = make_batch("table", sizes)
        pair = TablePair(batch.pair.index.int(), batch.pair.table_a, batch.pair.table_b)
        with torch._dynamo.config.patch(error_on_recompile=not recompile):
            out = function(
                batch.query, batch.key, batch.value, pair.index, pair.table_a, pair.table_b, batch.cu_seqlens
            )
        torch.testing.assert_close(out, torch.relu(batch.run("reference")) * 2)
