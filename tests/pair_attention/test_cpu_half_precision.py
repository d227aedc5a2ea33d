"""Rows of pair tensors in half precision are widened and rounded exactly as PyTorch does it, special values included.

In a molecule of one atom the weight is exactly 1, so out = v * b and the gradient of b is grad_out * v.
"""

from __future__ import annotations

import pytest
import torch

from ditkernels import DensePair, _native, pair_attention

pytestmark = pytest.mark.skipif(not _native.available, reason=str(_native.reason))

ATOMS, WIDTH = 8192, 8
HALF = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)


def attend(value: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    zero = torch.zeros(ATOMS, 1, WIDTH, dtype=value.dtype)
    boundaries = torch.arange(ATOMS + 1, dtype=torch.int32)
    return pair_attention(zero, zero, value, DensePair(torch.zeros_like(b), b), cu_seqlens=boundaries, impl="cpu")


@HALF
def test_every_value_is_read_exactly(dtype):
    b = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(dtype).reshape(ATOMS, WIDTH)
    out = attend(torch.ones(ATOMS, 1, WIDTH, dtype=dtype), b)
    torch.testing.assert_close(out[:, 0], b, rtol=0, atol=0, equal_nan=True)


@HALF
def test_gradients_are_rounded_to_nearest_even(dtype):
    scale = 10.0 ** torch.empty(ATOMS, 1, WIDTH).uniform_(-9, 5)
    value, grad_out = (torch.randn(ATOMS, 1, WIDTH) * scale).to(dtype), torch.randn(ATOMS, 1, WIDTH).to(dtype)
    grad_out[0], grad_out[1] = torch.inf, torch.nan
    b = torch.ones(ATOMS, WIDTH, dtype=dtype, requires_grad=True)
    (gradient,) = torch.autograd.grad(attend(value, b), b, grad_out)
    expected = (grad_out.float() * value.float())[:, 0].to(dtype)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=0, equal_nan=True)
