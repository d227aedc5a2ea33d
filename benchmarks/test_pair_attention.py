"""Speed, accuracy and memory of `pair_attention` on the CPU; see conftest.py for how to run it."""

from __future__ import annotations

import pytest

from benchmarks import memory
from benchmarks.cases import CASES, FORMS, Case
from benchmarks.speed import bandwidth, measure


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_pair_attention_speed(case: Case, benchmark, results):
    row = {"form": case.form.name, **measure(case, benchmark, "pair_attention, fused")}
    results.add("pair_attention", row, read_bandwidth=bandwidth())
    assert row["error"] < 1e-4


@pytest.mark.skipif(not memory.supported(), reason="peak memory is read from /proc, which only Linux has")
@pytest.mark.parametrize("form", FORMS)
def test_pair_attention_memory(form: str, results):
    row = memory.compare(form)
    results.add("memory", row)
    assert min(row["fused_bytes"], row["eager_bytes"]) > 0
