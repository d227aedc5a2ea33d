"""Kernels compile without spills, and to matrix instructions."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

DITKERNELS = (sys.executable, "-c", "from ditkernels.cli.main import main; main()")
ROOT = Path(__file__).parents[2]


def number() -> int:
    """Which of the 12 samples of the kernels: the same for the same kernels, another one after most changes."""
    sources = sorted((ROOT / "ditkernels").glob("**/triton/*.py"))
    return zlib.crc32(b"".join(path.read_bytes() for path in sources)) % 12


@pytest.mark.slow
def test_a_sample_of_the_kernels():
    """Everything, with the registers of a table: ditkernels kernels --check benchmarks/triton"""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [*DITKERNELS, "kernels", "--operator", "pair_attention", "--sample", str(number()), "--jobs", "1"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-4000:]


def test_kernels_of_the_interpreter_cannot_be_compiled():
    command = [*DITKERNELS, "kernels", "--form", "dense"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 1 and "unset it" in result.stderr
