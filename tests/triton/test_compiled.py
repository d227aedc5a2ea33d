"""Kernels compile as they did when their table was made: no more registers, no more spills, matrix instructions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DITKERNELS = (sys.executable, "-c", "from ditkernels.cli.main import main; main()")
TABLE = Path(__file__).parents[2] / "benchmarks" / "triton"


# All kernels of pair attention; those of SO(3) attention, which take longer, for one architecture of each vendor.
ALL = {"pair_attention": ("sm_80", "sm_90", "sm_100", "gfx942"), "so3_attention": ("sm_90", "gfx942")}


@pytest.mark.slow
@pytest.mark.parametrize("operator", ALL)
def test_kernels_need_what_the_table_says(operator):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [*DITKERNELS, "kernels", "--operator", operator, "--check", str(TABLE)]
    command += [word for architecture in ALL[operator] for word in ("--architecture", architecture)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-4000:]


def test_kernels_of_the_interpreter_cannot_be_compiled():
    command = [*DITKERNELS, "kernels", "--form", "dense"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 1 and "unset it" in result.stderr
