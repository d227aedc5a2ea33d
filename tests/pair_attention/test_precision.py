"""Errors against float64 are at most twice those of plain PyTorch in the same dtype."""

from __future__ import annotations

import pytest
import torch

from tests.pair_attention.cases import Batch, equation, make_batch


def error(found, exact) -> float:
    """Relative error in the root mean square."""
    return float((found.detach().double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("variant", ["dense", "table", "projected", "displacement-table"])
def test_rounding(impl, variant, dtype):
    given = make_batch(variant, [20, 33], heads=2, width=8).to(dtype)
    exact: Batch = given.to(torch.float64)
    cotangent = torch.randn_like(exact.query).to(dtype)
    out, gradients = given.gradients(impl, cotangent)
    exact_out, exact_gradients = exact.gradients("reference", cotangent.double())

    plain = given.requires_grad()
    leaves = plain.leaves()
    plain_out = equation(plain)
    plain_gradients = dict(zip(leaves, torch.autograd.grad(plain_out, list(leaves.values()), cotangent), strict=True))
    assert out.dtype == dtype
    assert error(out, exact_out) <= 2 * error(plain_out, exact_out)
    for name in gradients:
        assert gradients[name].dtype == leaves[name].dtype
        allowed = 2 * error(plain_gradients[name], exact_gradients[name])
        assert error(gradients[name], exact_gradients[name]) <= allowed, name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_float32_bias_with_half_precision_tokens(impl, dtype):
    batch = make_batch("table", [6, 4], bias=True).to(dtype)
    wide = batch.with_leaves({"bias": batch.bias.float()})
    cotangent = torch.randn_like(batch.query)
    out, gradients = wide.gradients(impl, cotangent)
    torch.testing.assert_close(out, batch.run(impl))
    assert gradients["bias"].dtype == torch.float32
    assert gradients["query"].dtype == dtype


def test_large_logits_do_not_overflow(impl):
    batch = make_batch("table", [7], dtype=torch.float32)
    batch = batch.with_leaves({"query": batch.query * 1000})
    out, gradients = batch.gradients(impl, torch.ones_like(batch.query))
    assert out.isfinite().all() and all(g.isfinite().all() for g in gradients.values())
