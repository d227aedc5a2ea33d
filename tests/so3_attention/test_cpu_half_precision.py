"""Rows of a and g in half precision are widened and rounded exactly as PyTorch does it, special values included.

For g molecules have one atom: the weight is exactly 1, so out = g * v and the gradient of g is grad_out * v.

For a they have two, logits 0 and values +1 and -1: with grad_out = 1 / D the weights are exactly 1/2, out is 0 and the
gradients of the logits are +1/2 and -1/2, so that with scale = 2 the gradient of a is +q k or -q k, and that of the
query a_0 k_0 - a_1 k_1.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ditkernels import DenseRadial, _native, so3_attention

pytestmark = pytest.mark.skipif(not _native.available, reason=str(_native.reason))

HALF = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
# Rows of whole vectors, and rows shorter than one.
WIDTHS = pytest.mark.parametrize("width", [16, 4])


def every_value(dtype: torch.dtype) -> Tensor:
    return torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(dtype)


def random(rows: int, width: int, dtype: torch.dtype) -> Tensor:
    """Finite numbers of many magnitudes: products with numbers of order 1 go from 0 and subnormals to infinity."""
    x = torch.randn(rows, 1, 1, width) * 10.0 ** torch.empty(rows, 1, 1, width).uniform_(-9, 5)
    return x.clamp(-65504, 65504).to(dtype)


def attend(query: Tensor, key: Tensor, value: Tensor, a: Tensor, g: Tensor, atoms: int) -> Tensor:
    """One head of scalars (tokens, 1, 1, width) in molecules of `atoms` atoms each."""
    tokens, width = query.shape[0], query.shape[-1]
    positions, path_weight = torch.zeros(tokens, 3), torch.ones(1, width, dtype=query.dtype)
    boundaries = torch.arange(0, tokens + 1, atoms, dtype=torch.int32)
    options = {"irreps_qk": "0+", "cu_seqlens": boundaries, "scale": 2.0, "impl": "cpu"}
    return so3_attention(query, key, value, positions, path_weight, DenseRadial(a, g), **options)


def attend_alone(value: Tensor, g: Tensor) -> Tensor:
    zero = torch.zeros_like(value)
    return attend(zero, zero, value, torch.zeros_like(g), g, atoms=1)


def attend_in_twos(query: Tensor, key: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """The output and its gradient for the effect described above."""
    value = torch.ones_like(query)
    value[1::2] = -1
    out = attend(query, key, value, a, torch.ones_like(a), atoms=2)
    return out, torch.full_like(out, 1 / out.shape[-1])


@WIDTHS
@HALF
def test_every_value_of_g_is_read_exactly(dtype, width):
    g = every_value(dtype).reshape(-1, 1, width)
    out = attend_alone(torch.ones(g.shape[0], 1, 1, width, dtype=dtype), g)
    torch.testing.assert_close(out[:, 0], g, rtol=0, atol=0, equal_nan=True)


@WIDTHS
@HALF
def test_every_finite_value_of_a_is_read_exactly(dtype, width):
    values = every_value(dtype)
    a = values[values.isfinite()].reshape(-1, 1, width)  # of receiver i: a_i0, then a_i1
    query = torch.zeros(a.shape[0] // 2, 1, 1, width, dtype=dtype, requires_grad=True)
    for sender, sign in enumerate((1, -1)):
        key = torch.zeros_like(query)
        key[sender::2] = sign
        out, grad_out = attend_in_twos(query, key, a)
        (gradient,) = torch.autograd.grad(out, query, grad_out)
        assert torch.equal(gradient[:, 0], a[sender::2])


@WIDTHS
@HALF
def test_gradients_of_g_are_rounded_to_nearest_even(dtype, width):
    value, grad_out = random(4096, width, dtype), torch.randn(4096, 1, 1, width).to(dtype)
    grad_out[0], grad_out[1] = torch.inf, torch.nan
    g = torch.ones(4096, 1, width, dtype=dtype, requires_grad=True)
    (gradient,) = torch.autograd.grad(attend_alone(value, g), g, grad_out)
    expected = (grad_out.float() * value.float())[:, 0].to(dtype)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=0, equal_nan=True)


@WIDTHS
@HALF
def test_gradients_of_a_are_rounded_to_nearest_even(dtype, width):
    query, key = random(4096, width, dtype), torch.randn(4096, 1, 1, width).to(dtype)
    a = torch.zeros(2 * 4096, 1, width, dtype=dtype, requires_grad=True)
    out, grad_out = attend_in_twos(query, key, a)
    (gradient,) = torch.autograd.grad(out, a, grad_out)
    products = query.float().reshape(-1, 2, 1, width) * key.float().reshape(-1, 1, 2, width)
    expected = (products * torch.tensor([1.0, -1.0])[:, None]).reshape(-1, 1, width).to(dtype)
    assert dtype == torch.bfloat16 or (expected.isinf().any() and (expected == 0).any())
    torch.testing.assert_close(gradient, expected, rtol=0, atol=0)
