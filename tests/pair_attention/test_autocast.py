"""Autocast converts tokens and pair features, and leaves geometry, indices and bias as they are."""

from __future__ import annotations

import pytest
import torch

from ditkernels.layout import Layout
from ditkernels.pair_attention.descriptors import tensors
from tests.pair_attention.cases import make_batch


@pytest.mark.parametrize("variant", ["dense", "table", "projected", "displacement-table"])
def test_autocast_equals_conversion_by_hand(impl, variant):
    batch = make_batch(variant, [5, 3], dtype=torch.float32, bias=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = batch.run(impl)
    by_hand = batch.to(torch.bfloat16).with_leaves({"bias": batch.bias})
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, by_hand.run(impl))


@pytest.mark.parametrize("variant", ["dense", "table", "projected", "displacement-table"])
def test_operator_called_directly_under_autocast(op_impl, variant):
    batch = make_batch(variant, [5, 3], dtype=torch.float32, bias=True)
    layout = Layout.ragged(batch.cu_seqlens, 8)
    places = (layout.offsets, layout.lengths, layout.pair_offsets, layout.pair_stride)
    rest = (*places, None, batch.bias, 3**-0.5, False, op_impl)
    op = getattr(torch.ops.ditkernels, f"pair_attention_{batch.pair.form}")
    with torch.autocast("cpu", torch.bfloat16):
        out, lse = op(batch.query, batch.key, batch.value, *tensors(batch.pair), *rest)
        expected = batch.run(op_impl)
    assert out.dtype == torch.bfloat16 and lse.dtype == torch.float32
    assert torch.equal(out, expected)


def test_gradients_come_back_in_the_dtype_of_the_leaves(impl):
    batch = make_batch("displacement-table", [4], dtype=torch.float32).requires_grad()
    with torch.autocast("cpu", torch.bfloat16):
        out = batch.run(impl)
    out.float().square().sum().backward()
    for name, leaf in batch.leaves().items():
        assert leaf.grad.dtype == torch.float32 and leaf.grad.isfinite().all(), name


def test_float64_is_left_alone(impl):
    batch = make_batch("table", [4])
    with torch.autocast("cpu", torch.bfloat16):
        out = batch.run(impl)
    assert out.dtype == torch.float64
    assert torch.equal(out, batch.run(impl))
