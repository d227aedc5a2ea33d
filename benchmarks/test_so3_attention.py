"""Speed, accuracy and memory of `so3_attention` on the CPU; see conftest.py for how to run it."""

from __future__ import annotations

import pytest

from benchmarks import memory
from benchmarks.so3_cases import CASES, FORMS, So3Case
from benchmarks.speed import bandwidth, matrix_rate, measure


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_so3_attention_speed(case: So3Case, benchmark, results):
    row = {"form": case.form, "irreps": case.irreps, "channels": case.channels}
    row |= measure(case, benchmark, "so3_attention, fused")
    results.add("so3_attention", row, read_bandwidth=bandwidth(), matrix_rate=matrix_rate())
    assert max(row["error"], row["error_e3nn"] or 0.0) < 1e-4


@pytest.mark.skipif(not memory.supported(), reason="peak memory is read from /proc, which only Linux has")
@pytest.mark.parametrize("form", FORMS)
def test_so3_attention_memory(form: str, results):
    row = memory.compare(f"so3_{form}")
    results.add("so3_memory", row)
    assert min(row["fused_bytes"], row["eager_bytes"]) > 0
