"""The instruction-set levels of the CPU kernels: those of this processor agree; an environment variable picks one."""

from __future__ import annotations

import pytest

from ditkernels import _native
from tests.support.levels import LEVELS, python

pytestmark = pytest.mark.skipif(not _native.available, reason=str(_native.reason))

CHECK = """
import torch
from ditkernels import _native
from tests.pair_attention.cases import make_batch
torch.set_num_threads(1)
torch.manual_seed(0)
half = torch.bfloat16
print(_native.cpu_level())
for variant in ("dense", "table", "projected", "displacement-table"):
    for dtype, width in ((torch.float32, 8), (torch.float32, 32), (torch.float32, 5), (torch.float64, 8), (half, 16)):
        batch = make_batch(variant, [17, 33, 2], heads=2, width=width, mask=True, bias=True).to(dtype)
        cotangent = torch.randn_like(batch.query)
        out, gradients = batch.gradients("cpu", cotangent, exclude_self=True)
        expected, expected_gradients = batch.gradients("reference", cotangent, exclude_self=True)
        tolerance = {torch.float32: 1e-5, torch.float64: 1e-13, half: 2e-2}[dtype]
        for found, wanted in ((out, expected), *((g, expected_gradients[n]) for n, g in gradients.items())):
            error = ((found - wanted).abs().max() / wanted.abs().max()).item()
            assert error < tolerance, (variant, dtype, width, error)
"""


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_agrees_with_the_reference(level):
    result = python(CHECK, level)
    if "is not a level that this processor and build have" in result.stderr:
        pytest.skip(f"this processor has no {level}")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == level


def test_the_best_level_is_the_default():
    level = "import torch; from ditkernels import _native; print(_native.cpu_level())"
    default = python(level, "")
    usable = [name for name in LEVELS if python(level, name).returncode == 0]
    assert default.stdout.strip() == usable[-1]


def test_unknown_level_is_named():
    result = python("from ditkernels import _native; _native.cpu_level()", "sse9")
    assert result.returncode != 0
    assert "DITKERNELS_CPU_LEVEL=sse9 is not a level that this processor and build have; choose one of" in result.stderr
