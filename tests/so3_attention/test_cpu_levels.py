"""The instruction-set levels of the CPU kernels of this processor agree with the reference."""

from __future__ import annotations

import pytest

from ditkernels import _native
from tests.support.levels import LEVELS, python

pytestmark = pytest.mark.skipif(not _native.available, reason=str(_native.reason))

CHECK = """
import torch
from ditkernels import _native
from tests.so3_attention.cases import make_batch
torch.set_num_threads(1)
torch.manual_seed(0)
half = torch.bfloat16
print(_native.cpu_level())
for irreps, radial in (("natural-2", "dense"), ("parity-1", "bernstein-scaled")):
    for dtype, width in ((torch.float32, 8), (torch.float32, 32), (torch.float32, 5), (torch.float64, 8), (half, 16)):
        batch = make_batch(irreps, radial, [17, 20, 2], heads=2, width=width, mask=True, bias=True).to(dtype)
        cotangent = batch.cotangent()
        out, gradients = batch.gradients("cpu", cotangent, exclude_self=True)
        expected, expected_gradients = batch.gradients("reference", cotangent, exclude_self=True)
        tolerance = {torch.float32: 2e-5, torch.float64: 1e-12, half: 3e-2}[dtype]
        for found, wanted in ((out, expected), *((g, expected_gradients[n]) for n, g in gradients.items())):
            error = ((found - wanted).abs().max() / wanted.abs().max()).item()
            assert error < tolerance, (irreps, radial, dtype, width, error)
"""


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_agrees_with_the_reference(level):
    result = python(CHECK, level)
    if "is not a level that this processor and build have" in result.stderr:
        pytest.skip(f"this processor has no {level}")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == level
