"""torch.compile: one graph without breaks, for other shapes too, with the numbers of eager code."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ditkernels import RadialBasis, so3_attention
from tests.so3_attention.cases import FORMS, make_batch


def compiled(batch, impl, backend):
    names = list(batch.leaves())

    def attend(cu_seqlens, mask, *leaves):
        new = batch.with_leaves(dict(zip(names, leaves, strict=True)))
        return replace(new, cu_seqlens=cu_seqlens, mask=mask).run(impl)

    return torch.compile(attend, fullgraph=True, dynamic=True, backend=backend)


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_one_graph_and_the_same_gradients(op_impl, irreps, radial):
    assert_same_gradients(op_impl, make_batch(irreps, radial, [4, 3, 6], mask=True, bias=True, cutoff=True))


def test_reference_without_pair_tensors_traces_all_token_pairs():
    """Only the values of cu_seqlens say how many pairs there are, and no graph break may read them."""
    assert_same_gradients("reference", make_batch("first-block", "bernstein", [4, 3, 6]), backend="eager")


def assert_same_gradients(impl, batch, backend="aot_eager"):
    torch._dynamo.reset()
    batch = batch.requires_grad()
    leaves = list(batch.leaves().values())
    cotangent = batch.cotangent()
    out = compiled(batch, impl, backend)(batch.cu_seqlens, batch.mask, *leaves)
    expected = batch.run(impl)
    torch.testing.assert_close(out, expected)
    found = torch.autograd.grad(out, leaves, cotangent)
    for gradient, right in zip(found, torch.autograd.grad(expected, leaves, cotangent), strict=True):
        torch.testing.assert_close(gradient, right)


@pytest.mark.slow
def test_inductor_with_dynamic_shapes(op_impl):
    torch._dynamo.reset()

    def attend(query, key, value, positions, path_weight, weight_a, weight_g, cu_seqlens):
        radial = RadialBasis("bernstein", weight_a, weight_g)
        tokens = (query, key, value, positions, path_weight, radial)
        out = so3_attention(*tokens, irreps_qk="0+ 1-", cu_seqlens=cu_seqlens, impl=op_impl)
        return torch.relu(out) * 2

    function = torch.compile(attend, fullgraph=True, dynamic=True)
    # The first batch has no size in common with an axis that is fixed, such as M: torch.compile holds them for one.
    for sizes, recompile in (([4, 3, 6, 1, 2, 5], True), ([5, 7], False), ([2, 9, 4, 8], False)):
        batch = make_batch("natural-1", "bernstein", sizes)
        with torch._dynamo.config.patch(error_on_recompile=not recompile):
            out = function(*batch.leaves().values(), batch.cu_seqlens)
        torch.testing.assert_close(out, torch.relu(batch.run("reference")) * 2)


@pytest.mark.slow
def test_inductor_gradients(op_impl):
    assert_same_gradients(op_impl, make_batch("parity-1", "bernstein-scaled", [4, 3, 6], bias=True), backend="inductor")
