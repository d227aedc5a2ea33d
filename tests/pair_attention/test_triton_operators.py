"""The operators with Triton kernels behind them: torch.library's contract, second derivatives, vmap, torch.compile."""

from __future__ import annotations

import pytest
import torch

from ditkernels import DensePair, pair_attention
from ditkernels.layout import Layout
from ditkernels.pair_attention.descriptors import tensors
from tests.pair_attention.cases import make_batch
from tests.support.triton import DEVICE, needs_triton, on_device

pytestmark = [needs_triton, pytest.mark.usefixtures("small_blocks")]


def arguments(batch) -> tuple:
    layout = Layout.ragged(batch.cu_seqlens, batch.query.shape[0])
    places = (layout.offsets, layout.lengths, layout.pair_offsets, layout.pair_stride)
    rest = (batch.mask, batch.bias, 0.6, True, "triton")
    return (batch.query, batch.key, batch.value, *tensors(batch.pair), *places, *rest)


@pytest.mark.parametrize("form", ["dense", "displacement"])
def test_opcheck(form):
    """All forms are registered alike, and their schemas are checked with the native back-end."""
    batch = on_device(make_batch(form, [2, 3], width=8, dtype=torch.float32, mask=True, bias=True)).requires_grad()
    operator = getattr(torch.ops.ditkernels, f"pair_attention_{form}").default
    given = arguments(batch)
    assert set(torch.library.opcheck(operator, given).values()) == {"SUCCESS"}
    out, lse = (x.detach() for x in operator(*given))
    needs = [x is not None and x.requires_grad for x in tensors(batch.pair)] + [True]
    given = (torch.randn_like(out).requires_grad_(), *given[:3], out, lse, *given[3:-1], needs, "triton")
    operator = getattr(torch.ops.ditkernels, f"pair_attention_{form}_backward").default
    assert set(torch.library.opcheck(operator, given).values()) == {"SUCCESS"}


@pytest.mark.parametrize("variant", ["dense", "table", "projected-shared", "displacement-table"])
def test_second_derivatives(variant):
    batch = make_batch(variant, [3, 2], width=8, dtype=torch.float32, bias=True)

    def second(impl):
        given = on_device(batch).requires_grad()
        leaves = list(given.leaves().values())
        first = torch.autograd.grad(given.run(impl).sin().sum(), leaves, create_graph=True)
        return torch.autograd.grad(sum(x.square().sum() for x in first), leaves)

    for found, expected in zip(second("triton"), second("reference"), strict=True):
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_vmap_over_samples():
    """Three samples of the same two molecules."""
    batch = on_device(make_batch("table", [3, 9], width=8, dtype=torch.float32))
    queries = torch.randn(3, *batch.query.shape, device=DEVICE)

    def attend(query):
        return pair_attention(query, batch.key, batch.value, batch.pair, cu_seqlens=batch.cu_seqlens, impl="triton")

    found = torch.func.vmap(attend)(queries)
    torch.testing.assert_close(found, torch.stack([attend(query) for query in queries]))


def test_one_graph_for_all_shapes():
    torch._dynamo.reset()

    def loss(query, a, b, cu_seqlens):
        pair = DensePair(a, b)
        return pair_attention(query, query, query, pair, cu_seqlens=cu_seqlens, impl="triton").square().sum()

    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend="aot_eager")
    for sizes, recompile in (([4, 3, 6], True), ([5, 2, 9, 1], False)):
        batch = on_device(make_batch("dense", sizes, width=8, dtype=torch.float32))
        leaves = [x.clone().requires_grad_() for x in (batch.query, batch.pair.a, batch.pair.b)]
        with torch._dynamo.config.patch(error_on_recompile=not recompile):
            found = torch.autograd.grad(compiled(*leaves, batch.cu_seqlens), leaves)
        for gradient, expected in zip(found, torch.autograd.grad(loss(*leaves, batch.cu_seqlens), leaves), strict=True):
            torch.testing.assert_close(gradient, expected)
