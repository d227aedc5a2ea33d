"""Errors of the Triton kernels against float64 are at most twice those of plain PyTorch in the same dtype.

bfloat16 is left to the tests that need a GPU: the interpreter truncates where a GPU rounds.
"""

from __future__ import annotations

import pytest
import torch

from tests.pair_attention.cases import equation, make_batch
from tests.support.triton import needs_triton, on_device

pytestmark = [needs_triton, pytest.mark.usefixtures("small_blocks")]


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Relative error in the root mean square."""
    return float((found.detach().cpu().double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("variant", ["dense", "table", "projected", "displacement-table"])
def test_rounding(variant, dtype):
    given = make_batch(variant, [12, 17], width=8).to(dtype)
    cotangent = torch.randn_like(given.query)
    exact_out, exact = given.to(torch.float64).gradients("reference", cotangent.double())
    plain = given.requires_grad()
    plain_out, leaves = equation(plain), plain.leaves()
    plain_gradients = dict(zip(leaves, torch.autograd.grad(plain_out, list(leaves.values()), cotangent), strict=True))
    out, found = on_device(given).gradients("triton", on_device(cotangent))
    assert error(out, exact_out) <= 2 * error(plain_out, exact_out)
    for name in exact:
        assert found[name].dtype == leaves[name].dtype
        assert error(found[name], exact[name]) <= 2 * error(plain_gradients[name], exact[name]), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_float32_bias_with_half_precision_tokens(dtype):
    batch = make_batch("table", [6, 4], width=8, bias=True).to(dtype)
    wide = on_device(batch.with_leaves({"bias": batch.bias.float()}))
    cotangent = on_device(torch.randn_like(batch.query))
    out, found = wide.gradients("triton", cotangent)
    expected, narrow = on_device(batch).gradients("triton", cotangent)
    assert torch.equal(out, expected)
    assert found["bias"].dtype == torch.float32 and found["query"].dtype == narrow["bias"].dtype == dtype
