"""Errors against float64 are at most twice those of plain PyTorch in the same dtype."""

from __future__ import annotations

import pytest
import torch

from tests.so3_attention.cases import Batch, make_batch
from tests.so3_attention.equation import equation

VARIANTS = [
    ("natural-2", "dense"),
    ("parity-1", "bernstein-scaled"),
    ("natural-1", "gaussian"),
    ("natural-1", "bessel"),
]


def molecules(irreps, radial, dtype) -> Batch:
    """Atoms on a disturbed lattice, weights of order 1: no pair and no sender is most of any sum."""
    batch = make_batch(irreps, radial, [12, 9], heads=2, width=8)
    sites = 1.5 * torch.cartesian_prod(*[torch.arange(3.0, dtype=torch.float64)] * 3)
    positions = torch.cat([sites[torch.randperm(len(sites))[:n]] for n in batch.sizes])
    leaves = batch.leaves() | {"positions": positions + 0.2 * torch.randn_like(positions)}
    for name in ("weight_a", "weight_g"):
        if name in leaves:
            leaves[name] = leaves[name] * leaves[name].shape[0] ** -0.5
    return batch.with_leaves(leaves).to(dtype)


def error(found, exact) -> float:
    """Relative error in the root mean square over several batches."""
    difference = sum((f.detach().double() - e).square().sum() for f, e in zip(found, exact, strict=True))
    return float((difference / sum(e.square().sum() for e in exact)).sqrt())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize(("irreps", "radial"), VARIANTS)
def test_rounding(impl, irreps, radial, dtype):
    found, plain, exact = [], [], []
    for _ in range(3):
        given = molecules(irreps, radial, dtype)
        cotangent = given.cotangent()
        out, gradients = given.gradients(impl, cotangent, exclude_self=True)
        assert out.dtype == dtype and all(gradients[name].dtype == x.dtype for name, x in given.leaves().items())
        found.append({"out": out} | gradients)

        leaves = given.requires_grad().leaves()
        plain_out = equation(given.with_leaves(leaves), exclude_self=True)
        grads = torch.autograd.grad(plain_out, list(leaves.values()), cotangent)
        plain.append({"out": plain_out} | dict(zip(leaves, grads, strict=True)))

        wide = given.to(torch.float64)
        out, gradients = wide.gradients("reference", cotangent.double(), exclude_self=True)
        exact.append({"out": out} | gradients)
    for name in exact[0]:
        values = [[results[name] for results in parts] for parts in (found, plain, exact)]
        assert error(values[0], values[2]) <= 2 * error(values[1], values[2]), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_float32_bias_and_cutoff_with_half_precision_tokens(impl, dtype):
    batch = make_batch("natural-1", "bernstein", [6, 4], bias=True, cutoff=True).to(dtype)
    wide = batch.with_leaves({"bias": batch.bias.float(), "cutoff": batch.cutoff.float()})
    cotangent = batch.cotangent()
    out, gradients = wide.gradients(impl, cotangent)
    assert gradients["bias"].dtype == gradients["cutoff"].dtype == torch.float32
    assert out.dtype == gradients["query"].dtype == dtype
    torch.testing.assert_close(out, equation(batch.to(torch.float64)).to(dtype), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_large_logits_do_not_overflow(impl, dtype):
    batch = make_batch("natural-1", "bernstein", [7], dtype=dtype)
    batch = batch.with_leaves({"query": batch.query * 1000})
    out, gradients = batch.gradients(impl, batch.cotangent())
    assert out.isfinite().all() and all(g.isfinite().all() for g in gradients.values())
