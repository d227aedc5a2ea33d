"""Speed, accuracy and memory of `pair_attention` on the CPU; see conftest.py for how to run it."""

from __future__ import annotations

from functools import cache

import pytest

from benchmarks import memory
from benchmarks.cases import CASES, FORMS, Case
from benchmarks.contestants import CONTESTANTS, IMPLS, relative_error, truth
from benchmarks.measure import WARM_BELOW_S, Times, read_bandwidth, rounds_for, timed, warm_timed

BUDGET_S = 2.0
MEMORY_BATCH, MEMORY_SIZE, MEMORY_LAYERS = 4, 100, 6


@cache
def bandwidth() -> float:
    return read_bandwidth()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_pair_attention_speed(case: Case, benchmark, results):
    inputs = case.inputs()
    runs = {name: build(case, inputs) for name, build in CONTESTANTS.items() if name != "compile" or case.compiled}
    exact = truth(case, inputs)
    errors = {name: relative_error(run(), exact) for name, run in runs.items()}
    del exact
    expected, rounds = rounds_for(runs, BUDGET_S)
    times = Times()

    def opponents() -> None:
        for name, run in runs.items():
            if name != "fused":
                times.add(name, warm_timed(run, expected[name]))
        if expected["fused"] < WARM_BELOW_S:
            runs["fused"]()

    # pytest-benchmark drives the rounds and keeps its own statistics of the fused pass; the others run in its set-up.
    benchmark.group = "pair_attention, fused"
    benchmark.pedantic(lambda: times.add("fused", timed(runs["fused"])), setup=opponents, rounds=rounds)

    fused = times.median("fused")
    row = {
        "form": case.form.name,
        "batch": case.batch,
        "size": case.size,
        "passes": case.passes,
        "rounds": len(times.seconds["fused"]),
        "fused_ms": 1e3 * fused,
        "spread": times.spread("fused"),
        "eager_ms": 1e3 * times.median("eager"),
        "compile_ms": 1e3 * times.median("compile") if case.compiled else None,
        "speedup_eager": times.ratio("eager", "fused"),
        "speedup_compile": times.ratio("compile", "fused") if case.compiled else None,
        "bytes": case.bytes_moved,
        "flops": case.flops,
        "gigabytes_per_second": case.bytes_moved / fused / 1e9,
        "gigaflops_per_second": case.flops / fused / 1e9,
        "bandwidth_share": case.bytes_moved / fused / bandwidth(),
        "error": errors["fused"],
        "error_eager": errors["eager"],
    }
    results.add("pair_attention", row, read_bandwidth=bandwidth())
    assert errors["fused"] < 1e-4


@pytest.mark.skipif(not memory.supported(), reason="peak memory is read from /proc, which only Linux has")
@pytest.mark.parametrize("form", FORMS)
def test_pair_attention_memory(form: str, results):
    sizes = (MEMORY_BATCH, MEMORY_SIZE, MEMORY_LAYERS)
    peaks = {name: memory.peak_bytes(form, *sizes, impl) for name, impl in IMPLS.items()}
    row = {
        "form": form,
        "batch": MEMORY_BATCH,
        "size": MEMORY_SIZE,
        "layers": MEMORY_LAYERS,
        "fused_bytes": peaks["fused"],
        "eager_bytes": peaks["eager"],
        "saving": peaks["eager"] / peaks["fused"],
    }
    results.add("memory", row)
    assert min(peaks.values()) > 0
