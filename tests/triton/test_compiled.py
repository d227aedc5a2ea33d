"""Kernels compile as they did when their table was made: no more registers, no more spills, matrix instructions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DITKERNELS = (sys.executable, "-c", "from ditkernels.cli.main import main; main()")
TABLE = Path(__file__).parents[2] / "benchmarks" / "triton"


# All kernels of pair attention; of SO(3) attention, which take much longer, those of training on one architecture. The
# whole table: ditkernels kernels --check benchmarks/triton
ALL = ("--architecture", "sm_80", "--architecture", "sm_90", "--architecture", "sm_100", "--architecture", "gfx942")
SOME = ("--architecture", "sm_90", "--dtype", "bfloat16")


@pytest.mark.slow
@pytest.mark.parametrize(("operator", "which"), [("pair_attention", ALL), ("so3_attention", SOME)])
def test_kernels_need_what_the_table_says(operator, which):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [*DITKERNELS, "kernels", "--operator", operator, "--check", str(TABLE), *which]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-4000:]


def test_kernels_of_the_interpreter_cannot_be_compiled():
    command = [*DITKERNELS, "kernels", "--form", "dense"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 1 and "unset it" in result.stderr
