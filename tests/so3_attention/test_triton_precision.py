"""Triton kernels: errors against float64 are at most twice those of plain PyTorch in the same dtype."""

from __future__ import annotations

import pytest
import torch

from tests.so3_attention.equation import equation
from tests.so3_attention.test_precision import VARIANTS, error, molecules
from tests.support.triton import DEVICE, needs_triton, on_device

# The interpreter truncates bfloat16 where a GPU rounds.
DTYPES = [torch.float32, torch.float16] + [torch.bfloat16] * (DEVICE == "cuda")
BATCHES = 3 if DEVICE == "cuda" else 1


@needs_triton
@pytest.mark.usefixtures("large_blocks")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("irreps", "radial"), VARIANTS)
def test_rounding(irreps, radial, dtype):
    found, plain, exact = [], [], []
    for _ in range(BATCHES):
        given = molecules(irreps, radial, dtype)
        cotangent = given.cotangent()
        out, gradients = on_device(given).gradients("triton", on_device(cotangent), exclude_self=True)
        assert out.dtype == dtype and all(gradients[name].dtype == x.dtype for name, x in given.leaves().items())
        found.append({name: x.cpu() for name, x in {"out": out, **gradients}.items()})

        leaves = given.requires_grad().leaves()
        plain_out = equation(given.with_leaves(leaves), exclude_self=True)
        grads = torch.autograd.grad(plain_out, list(leaves.values()), cotangent)
        plain.append({"out": plain_out} | dict(zip(leaves, grads, strict=True)))

        out, gradients = given.to(torch.float64).gradients("reference", cotangent.double(), exclude_self=True)
        exact.append({"out": out} | gradients)
    for name in exact[0]:
        values = [[results[name] for results in parts] for parts in (found, plain, exact)]
        assert error(values[0], values[2]) <= 2 * error(values[1], values[2]), name
