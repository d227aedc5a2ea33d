"""A case measured: the one writer of rows.

A record is what the case says of itself, and for each contestant either its numbers or why it has none:

    version, ms, spread, rounds, how      median time of a run, interquartile range over the median
    ratio, ratio_spread                   eager time / its time, median of the rounds of the same run
    vs_lead                               its time / that of our back-end that impl="auto" takes, likewise
    gbs, gflops                           bytes that must move, and operations that must be done, over the time
    of_copy, of_read, of_matmul           these over the bandwidths and the matrix product rate of the same run
    of_floor                              the floor (the larger of both times at these rates) over the time
    error                                 largest error against float64
    peak_bytes, saving                    peak memory, and that of eager over it, in cases for it
    pair_bytes, pair_saving               its part for each atom pair, likewise; at least a byte counts
    absent                                the reason instead of all that
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from benchmarks.cases import Case, OwnTime, Work
from benchmarks.contestants import Contestant, Eager, Run, automatic, contestants, everybody
from benchmarks.measure import ceilings, memory
from benchmarks.measure.cpu import CpuTimer
from benchmarks.measure.turns import Times, Turns

OPERATORS = ("pair_attention", "so3_attention")

Drive = Callable[[Turns], Times]
"""What runs the rounds: `Turns.run`, or a benchmark that times the lead itself."""


def measure(case: Case, device: torch.device, drive: Drive = Turns.run, strict: bool = True) -> dict:
    """The record of a case.

    strict: ours and the eager reference may not fail; else the record says how they did, but for eager
    """
    _many_graphs()
    entrants, results = [], {}
    for contestant in contestants(case, device):
        reason = contestant.why_not(case, device)
        if reason is None:
            entrants.append(contestant)
        else:
            results[contestant.name] = {"absent": reason}
    record = case.facts() | {"auto": automatic(case, device), "bytes": None, "flops": None, "floor_ms": None}
    with _threads(case.threads):
        if "memory-only" not in case.tags:
            _times(case, device, entrants, drive, strict, record, results)
        if case.tags & {"memory", "memory-only"}:
            _peaks(case, device, entrants, results)
    order = [contestant.name for contestant in everybody(device)]
    record["results"] = dict(sorted(results.items(), key=lambda item: order.index(item[0])))
    return record


def _times(
    case: Case,
    device: torch.device,
    entrants: list[Contestant],
    drive: Drive,
    strict: bool,
    record: dict,
    results: dict[str, dict],
) -> None:
    work = case.set_up(case, device)
    runs, errors = prepared(case, device, work, entrants, strict, results)
    timers = {name: _timer(case, work, run, name, entrants, device) for name, run in runs.items()}
    lead = record["auto"] if record["auto"] in runs else next(iter(runs))
    times = drive(Turns(timers, case.budget, lead))
    nbytes = work.bytes_moved(case.backward) if case.operator in OPERATORS else None
    flops = case.count(case, work)
    # Operations of a network are those of the reference path, which our back-ends need not do: they are no floor.
    floor = None if nbytes is None else ceilings.floor_seconds(device, case.dtype, nbytes, flops)
    record |= {"bytes": nbytes, "flops": flops, "floor_ms": None if floor is None else 1e3 * floor}
    by_name = {contestant.name: contestant for contestant in entrants}
    for name, timer in timers.items():
        contestant, seconds = by_name[name], times.median(name)
        row = {
            "version": contestant.version,
            "ms": 1e3 * seconds,
            "spread": times.spread(name),
            "rounds": len(times.seconds[name]),
            "how": timer.how,
            "ratio": times.ratio("eager", name),
            "ratio_spread": times.ratio_spread("eager", name),
            "vs_lead": times.ratio(name, lead),
            "error": errors[name],
        }
        if device.type == "cuda":
            row["host_us"] = 1e6 * timer.host_seconds
        if contestant.same:  # what computes less has other bytes and operations
            row |= _rates(case, device, seconds, nbytes, flops, floor)
        results[name] = row


def _timer(
    case: Case, work: Work, run: Run, name: str, entrants: list[Contestant], device: torch.device
) -> Callable[[], float]:
    if device.type != "cuda":
        return CpuTimer(run)
    from benchmarks.measure.cuda import CudaTimer, rotated

    contestant = next(contestant for contestant in entrants if contestant.name == name)
    return CudaTimer([run, *(contestant.make(case, copy) for copy in rotated(work, device)[1:])])


def _rates(case: Case, device: torch.device, seconds: float, nbytes, flops, floor) -> dict:
    row = {}
    if nbytes is not None:
        row["gbs"] = nbytes / seconds / 1e9
        row["of_copy"] = nbytes / seconds / ceilings.copy_bandwidth(device)
        row["of_read"] = nbytes / seconds / ceilings.read_bandwidth(device)
    if flops is not None:
        row["gflops"] = flops / seconds / 1e9
        if nbytes is not None:
            row["of_matmul"] = flops / seconds / ceilings.matmul_rate(device, case.dtype)
    if floor is not None:
        row["of_floor"] = floor / seconds
    return row


def prepared(
    case: Case,
    device: torch.device,
    work: Work,
    entrants: list[Contestant],
    strict: bool,
    results: dict[str, dict],
) -> tuple[dict[str, Run], dict[str, float | None]]:
    """The runs of a case, each called once, with their errors; why others have none goes into `results`.

    Compilers and other packages may fail on a machine, and the table says so; what is measured here may not.
    """
    runs, errors, exact = {}, {}, None
    for contestant in entrants:
        try:
            run = contestant.make(case, work)
            found = run()
        except Exception as problem:
            if contestant.name == "eager" or (strict and contestant.name == automatic(case, device)):
                raise
            results[contestant.name] = {"absent": f"failed: {type(problem).__name__}: {_first_line(problem)}"}
            continue
        found = found.tensors if isinstance(found, OwnTime) else found
        if found and exact is None:
            exact = truth(case, work)
        error = None
        if found and contestant.same:
            found = contestant.comparable(case, found)
            error = relative_error(found, exact[: len(found)], joint=case.operator not in OPERATORS)
        runs[contestant.name], errors[contestant.name] = run, error
    return runs, errors


def truth(case: Case, work: Work) -> tuple[Tensor, ...]:
    """The run in float64 by the reference."""
    found = Eager().make(case, work.in_float64())()
    return found.tensors if isinstance(found, OwnTime) else found


def relative_error(results: tuple[Tensor, ...], truth: tuple[Tensor, ...], joint: bool = False) -> float:
    """Largest over the tensors of max |x - truth| / max |truth|; NaN if anything is NaN.

    joint: the scale is the largest of all tensors', for gradients of weights some of which vanish
    """
    tiny = torch.finfo(torch.float64).tiny
    pairs = [(x.double(), y.double()) for x, y in zip(results, truth, strict=True)]
    scales = [y.abs().max().clamp(min=tiny) for _, y in pairs]
    if joint:
        scales = [torch.stack(scales).max()] * len(pairs)
    return float(torch.stack([(x - y).abs().max() / scale for (x, y), scale in zip(pairs, scales)]).max())


def _peaks(case: Case, device: torch.device, entrants: list[Contestant], results: dict[str, dict]) -> None:
    if reason := memory.why_not(device):
        for contestant in entrants:
            results.setdefault(contestant.name, {"absent": reason})
        return
    for contestant in entrants:
        if not contestant.same or "absent" in results.get(contestant.name, {}):
            continue
        row = results.setdefault(contestant.name, {"version": contestant.version})
        row["peak_bytes"] = memory.peak_bytes(case, contestant, device)
        if "per-pair" in case.tags:
            row["pair_bytes"] = memory.pair_bytes(case, contestant, device, row["peak_bytes"])
    eager = results["eager"]
    for row in results.values():
        if "peak_bytes" in row:
            row["saving"] = eager["peak_bytes"] / row["peak_bytes"] if row["peak_bytes"] else None
        if "pair_bytes" in row:
            row["pair_saving"] = eager["pair_bytes"] / max(row["pair_bytes"], 1.0)


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _first_line(problem: Exception) -> str:
    return (str(problem).strip().splitlines() or [""])[0][:120]


def _many_graphs() -> None:
    """torch.compile keeps 8 graphs of a function, and goes on without compiling; every case needs one of its own."""
    dynamo = importlib.import_module("torch._dynamo")
    dynamo.config.recompile_limit = 256
    dynamo.config.fail_on_recompile_limit_hit = True
