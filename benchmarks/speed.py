"""One row of a speed table: all contestants of a case in turns, accuracy against float64, and the machine's floor."""

from __future__ import annotations

from functools import cache

from torch import Tensor

from benchmarks.contestants import CONTESTANTS, AnyCase, Run, absent, relative_error, truth
from benchmarks.inputs import Inputs
from benchmarks.measure import WARM_BELOW_S, Times, matmul_rate, read_bandwidth, rounds_for, timed, warm_timed

BUDGET_S = 2.0
SLOW_S, SLOW_ROUNDS = 0.5, 2  # a contestant that takes longer sits out after these rounds


@cache
def bandwidth() -> float:
    return read_bandwidth()


@cache
def matrix_rate() -> float:
    return matmul_rate()


def measure(case: AnyCase, benchmark, group: str) -> dict:
    """Times in milliseconds, ratios to the fused kernels within the rounds, errors, bytes, operations, floor.

    The floor is the larger of bytes / read bandwidth and operations / matrix product rate, both measured in this run.
    """
    inputs = case.inputs()
    runs, errors, reasons = prepared(case, inputs, truth(case, inputs))
    expected, rounds = rounds_for(runs, BUDGET_S)
    times = Times()

    def opponents() -> None:
        for name, run in runs.items():
            slow = expected[name] > SLOW_S and len(times.seconds.get(name, ())) >= SLOW_ROUNDS
            if name != "fused" and not slow:
                times.add(name, warm_timed(run, expected[name]))
        if expected["fused"] < WARM_BELOW_S:
            runs["fused"]()

    # pytest-benchmark drives the rounds and keeps its own statistics of the fused pass; the others run in its set-up.
    benchmark.group = group
    benchmark.pedantic(lambda: times.add("fused", timed(runs["fused"])), setup=opponents, rounds=rounds)

    fused = times.median("fused")
    floor = max(case.bytes_moved / bandwidth(), case.flops / matrix_rate())
    row = {
        "batch": case.batch,
        "size": case.size,
        "passes": case.passes,
        "rounds": len(times.seconds["fused"]),
        "fused_ms": 1e3 * fused,
        "spread": times.spread("fused"),
        "bytes": case.bytes_moved,
        "flops": case.flops,
        "gigabytes_per_second": case.bytes_moved / fused / 1e9,
        "gigaflops_per_second": case.flops / fused / 1e9,
        "bandwidth_share": case.bytes_moved / fused / bandwidth(),
        "floor_ms": 1e3 * floor,
        "floor_share": floor / fused,
        "error": errors["fused"],
        "absent": reasons,
    }
    for name in case.opponents:
        present = name in runs
        row[f"{name}_ms"] = 1e3 * times.median(name) if present else None
        row[f"speedup_{name}"] = times.ratio(name, "fused") if present else None
        row[f"error_{name}"] = errors.get(name)
    return row


def prepared(
    case: AnyCase, inputs: Inputs, exact: tuple[Tensor, ...]
) -> tuple[dict[str, Run], dict[str, float], dict[str, str]]:
    """The contestants of a case, each run once, with their errors; and why the others are absent.

    Compilers may fail on a machine, and the row says so; what is measured here, and its reference, may not.
    """
    runs, errors, reasons = {}, {}, absent(case)
    for name in ("fused", *case.opponents):
        if name in reasons:
            continue
        try:
            run = CONTESTANTS[name](case, inputs)
            results = run()
        except Exception as problem:
            if name in ("fused", "eager"):
                raise
            reasons[name] = f"failed: {type(problem).__name__}"
            continue
        if name == "e3nn":  # its gradients are those of another basis and of listed pairs
            results = (case.from_e3nn(results[0]),)
        runs[name], errors[name] = run, relative_error(results, exact[: len(results)])
    return runs, errors, reasons
