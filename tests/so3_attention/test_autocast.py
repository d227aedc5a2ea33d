"""Autocast converts tokens, weights and pair features, and leaves positions, indices and bias as they are."""

from __future__ import annotations

import pytest
import torch

from ditkernels.layout import Layout
from tests.so3_attention.cases import FORMS, make_batch
from tests.so3_attention.test_operators import forward_arguments, operator


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_autocast_equals_conversion_by_hand(impl, irreps, radial):
    batch = make_batch(irreps, radial, [5, 3], dtype=torch.float32, bias=True, cutoff=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = batch.run(impl)
    by_hand = batch.to(torch.bfloat16).with_leaves({"bias": batch.bias, "cutoff": batch.cutoff})
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, by_hand.run(impl))


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_operator_called_directly_under_autocast(op_impl, irreps, radial):
    batch = make_batch(irreps, radial, [5, 3], dtype=torch.float32, bias=True)
    arguments = forward_arguments(batch, op_impl, Layout.ragged(batch.cu_seqlens, 8))
    with torch.autocast("cpu", torch.bfloat16):
        out, lse = operator(batch.radial.form)(*arguments)
        expected = batch.run(op_impl, scale=0.6, exclude_self=True)
    assert out.dtype == torch.bfloat16 and lse.dtype == torch.float32
    assert torch.equal(out, expected)


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_gradients_come_back_in_the_dtype_of_the_leaves(impl, irreps, radial):
    batch = make_batch(irreps, radial, [4], dtype=torch.float32, bias=True).requires_grad()
    with torch.autocast("cpu", torch.bfloat16):
        out = batch.run(impl)
    out.float().square().sum().backward()
    for name, leaf in batch.leaves().items():
        assert leaf.grad.dtype == torch.float32 and leaf.grad.isfinite().all() and leaf.grad.any(), name


def test_float64_is_left_alone(impl):
    batch = make_batch("natural-1", "bernstein-scaled", [4])
    with torch.autocast("cpu", torch.bfloat16):
        out = batch.run(impl)
    assert out.dtype == torch.float64
    assert torch.equal(out, batch.run(impl))
