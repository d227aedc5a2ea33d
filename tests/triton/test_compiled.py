"""Kernels compile as their table says: no spills, no more registers than there, matrix instructions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from importlib.metadata import version
from pathlib import Path

import pytest

from ditkernels.tuning.problems import every_problem, rare_problems
from ditkernels.tuning.report import DEVICES, SAMPLES, complaints, load

DITKERNELS = (sys.executable, "-c", "from ditkernels.cli.main import main; main()")
ROOT = Path(__file__).parents[2]
TABLE = ROOT / "benchmarks" / "triton"
MADE_WITH = json.loads((TABLE / "kernels.json").read_text())["triton"]
same_triton = pytest.mark.skipif(
    version("triton") != MADE_WITH,
    reason=f"the table is Triton {MADE_WITH}'s, other versions take other registers",
)


def number() -> int:
    """Which of the samples of the kernels: the same for the same kernels, another one after most changes."""
    sources = sorted((ROOT / "ditkernels").glob("**/triton/*.py"))
    return zlib.crc32(b"".join(path.read_bytes() for path in sources)) % SAMPLES


def compiled(*options: str) -> subprocess.CompletedProcess:
    """``ditkernels kernels`` outside the interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [*DITKERNELS, "kernels", "--check", str(TABLE), "--sample", str(number()), "--jobs", "1", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@same_triton
def test_the_table_has_every_kernel_and_no_spill():
    """Of every problem on every architecture; also no product of half-precision matrices without their instructions."""
    kept = load(TABLE)
    assert complaints(kept, kept) == []
    problems = (*every_problem(), *rare_problems())
    expected = {(problem.name, architecture) for problem in problems for architecture in DEVICES}
    assert {(row.problem, row.architecture) for row in kept} == expected


@same_triton
@pytest.mark.parametrize("architecture", DEVICES)
def test_kernels_of_the_dense_forms_move_16_bytes_at_a_time(architecture):
    """But some of SO(3) attention in half precision at L = 2, where registers are short: see the notes."""
    whole = ("forward", "backward", "rows", "tokens", "values", "query_radial", "value_radial")
    narrow = ("forward", "rows", "values", "value_radial")
    seen = set()
    for row in load(TABLE):
        kernel = row.kernel.partition(" ")[0].removesuffix("_kernel")
        operator, form, *_, dtype = row.problem.removesuffix(" rare").split()
        short = operator == "so3_attention" and dtype != "float32" and "L = 2" in row.problem and kernel in narrow
        if row.architecture != architecture or form != "dense" or kernel not in whole or short:
            continue
        assert row.access == 16, row.name
        seen.add((operator, kernel))
    assert len(seen) == 8


@same_triton
@pytest.mark.slow
def test_a_sample_of_the_kernels_is_as_the_table_says():
    """Everything: ditkernels kernels --check benchmarks/triton"""
    result = compiled()
    assert result.returncode == 0, result.stderr[-4000:]


def test_kernels_of_the_interpreter_cannot_be_compiled():
    command = [*DITKERNELS, "kernels", "--form", "dense"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 1 and "unset it" in result.stderr
