"""Speed, accuracy and memory of `so3_attention` on the CPU; see conftest.py for how to run it."""

from __future__ import annotations

import pytest

from benchmarks import memory
from benchmarks.inputs import PASSES
from benchmarks.so3_cases import CASES, FORMS, LISTS, So3Case
from benchmarks.speed import bandwidth, matrix_rate, measure


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_so3_attention_speed(case: So3Case, benchmark, results):
    row = {"form": case.form, "irreps": case.irreps, "channels": case.channels}
    row |= measure(case, benchmark, "so3_attention, fused")
    if row["e3nn_ms"] is not None:
        from benchmarks.e3nn_modes import fastest_mode

        row["e3nn_mode"] = fastest_mode(case)
    results.add("so3_attention", row, read_bandwidth=bandwidth(), matrix_rate=matrix_rate())
    assert max(row["error"], row["error_e3nn"] or 0.0) < 1e-4


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize(("irreps", "channels"), LISTS)
def test_so3_e3nn_modes(irreps: str, channels: int, passes: str, results):
    pytest.importorskip("e3nn")
    from benchmarks.e3nn_modes import mode_times, small

    row = mode_times(small(irreps, channels, passes)).row()
    results.add("so3_e3nn_modes", row)
    assert row["fused_ms"] > 0


@pytest.mark.skipif(not memory.supported(), reason="peak memory is read from /proc, which only Linux has")
@pytest.mark.parametrize("form", FORMS)
def test_so3_attention_memory(form: str, results):
    row = memory.compare(f"so3_{form}")
    results.add("so3_memory", row)
    assert min(row["fused_bytes"], row["eager_bytes"]) > 0
