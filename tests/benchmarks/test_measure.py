"""How a record is made: turns, ratios, reasons, rates, memory; and the parts of the GPU's timing that need no GPU."""

import math
from dataclasses import replace

import pytest
import torch

from benchmarks.cases import OwnTime, select
from benchmarks.measure import ceilings, cuda, memory, record
from benchmarks.measure.cpu import CpuTimer
from benchmarks.measure.environment import environment, result_name
from benchmarks.measure.turns import Times, Turns

CPU = torch.device("cpu")
SMOKE = {case.name: case for case in select("smoke")}
DENSE = SMOKE["pair dense 2x5 forward+backward float32"]


@pytest.fixture(autouse=True)
def known_ceilings(monkeypatch):
    """10 GB/s read, 20 GB/s copy, 100 GFLOP/s: nothing is measured."""
    monkeypatch.setattr(ceilings, "read_bandwidth", lambda device: 10e9)
    monkeypatch.setattr(ceilings, "copy_bandwidth", lambda device: 20e9)
    monkeypatch.setattr(ceilings, "matmul_rate", lambda device, dtype: 100e9)


@pytest.mark.parametrize("name", SMOKE)
def test_every_kind_of_case_gives_a_record(name):
    case = SMOKE[name]
    found = record.measure(case, CPU)
    ours, eager = found["results"][found["auto"]], found["results"]["eager"]
    assert found["name"] == name and found["auto"] == "cpu"
    if "memory-only" in case.tags:
        assert set(ours) == {"version", "peak_bytes", "saving"} and "ms" not in eager
        return
    assert eager["ratio"] == 1.0 and ours["vs_lead"] == 1.0 and ours["rounds"] >= 2
    assert 0 < ours["error"] < (1e-4 if case.dtype == "float32" else 1e-1)
    assert (found["bytes"] is None) == (not case.operator.endswith("attention"))
    assert ours["gflops"] == pytest.approx(found["flops"] / ours["ms"] / 1e6)


def test_rates_and_floor():
    found = record.measure(DENSE, CPU)
    ours = found["results"]["cpu"]
    seconds = ours["ms"] / 1e3
    assert ours["gbs"] == pytest.approx(found["bytes"] / seconds / 1e9)
    assert ours["of_copy"] == pytest.approx(found["bytes"] / seconds / 20e9)
    assert ours["of_read"] == pytest.approx(2 * ours["of_copy"])
    assert ours["of_matmul"] == pytest.approx(found["flops"] / seconds / 100e9)
    assert found["floor_ms"] == pytest.approx(1e3 * max(found["bytes"] / 20e9, found["flops"] / 100e9))
    # What computes less has other bytes, and no error.
    price = found["results"]["sdpa, no pair information"]
    assert "gbs" not in price and price["error"] is None and price["ms"] > 0


def test_a_contestant_that_fails_is_named_with_its_error(monkeypatch):
    def broken(self, case, work):
        raise ArithmeticError("no compiler\nmore")

    monkeypatch.setattr("benchmarks.contestants.ours.Compiled.make", broken)
    case = replace(DENSE, tags=frozenset({"compile"}))
    found = record.measure(case, CPU)
    assert found["results"]["compile"] == {"absent": "failed: ArithmeticError: no compiler"}
    monkeypatch.setattr("benchmarks.contestants.ours.Backend.make", broken)
    with pytest.raises(ArithmeticError, match="no compiler"):
        record.measure(case, CPU)
    lenient = record.measure(case, CPU, strict=False)
    assert lenient["results"]["cpu"] == lenient["results"]["compile"] and lenient["results"]["eager"]["ms"] > 0
    monkeypatch.setattr("benchmarks.contestants.ours.Eager.make", broken)
    with pytest.raises(ArithmeticError, match="no compiler"):
        record.measure(case, CPU, strict=False)


def test_ratios_are_taken_within_the_rounds():
    times = Times({"slow": [2.0, 20.0, 6.0], "fast": [1.0, 5.0, 2.0]})
    assert times.ratio("slow", "fast") == 3.0 and times.median("fast") == 2.0
    assert times.ratio_spread("slow", "fast") == pytest.approx(1.0 / 3.0)
    times.add("fast", 100.0)  # somebody sat out: only common rounds count
    assert times.ratio("slow", "fast") == 3.0


def test_slow_contestants_sit_out():
    seconds = {"lead": 0.1, "slow": 0.9, "fast": 0.01}
    turns = Turns({name: lambda name=name: seconds[name] for name in seconds}, budget=5.0, lead="lead")
    times = turns.run()
    # The first run of everybody counts where somebody is slow.
    assert turns.rounds + 1 == int(5.0 / 1.01) == len(times.seconds["lead"]) == len(times.seconds["fast"])
    assert len(times.seconds["slow"]) == 2
    all_slow = Turns({name: lambda: 0.9 for name in "ab"}, budget=5.0, lead="a")
    assert len(all_slow.run().seconds["a"]) == 2
    all_fast = Turns({name: lambda: 0.1 for name in "ab"}, budget=5.0, lead="a")
    assert all_fast.rounds == int(5.0 / 0.2) == len(all_fast.run().seconds["a"])


def test_a_run_that_measures_itself_is_believed():
    assert CpuTimer(lambda: OwnTime(123.0))() == 123.0
    calls = []
    timer = CpuTimer(lambda: calls.append(1))
    assert 0 < timer() < 1 and timer() < 1
    assert len(calls) == 3  # the second measurement was warmed up


def test_sampling_is_scaled_to_all_steps(monkeypatch):
    case = SMOKE["sampling ape-s 2x7 50 steps float32"]
    clock = iter([0.0, 3.0, 4.0, 5.0, 6.0])
    monkeypatch.setattr("benchmarks.cases.networks.time.perf_counter", lambda: next(clock))
    found = case.set_up(case, CPU).call("cpu", None)
    assert found.seconds == 2.0 + 50 * 1.0


def test_threads_are_set_for_one_case_only():
    before, seen = torch.get_num_threads(), []

    def drive(turns):
        seen.append(torch.get_num_threads())
        return turns.run()

    record.measure(replace(DENSE, threads=before + 1), CPU, drive)
    assert seen == [before + 1] and torch.get_num_threads() == before


@pytest.mark.slow
@pytest.mark.skipif(memory.why_not(CPU) is not None, reason="reads /proc")
def test_peak_memory_sees_what_a_run_needs():
    """16 molecules of 44 atoms: the gradient of the pair tensor alone is 32 MB."""
    from benchmarks.cases import named
    from benchmarks.contestants import named as contestant_named

    case = named("pair dense 16x44 forward+backward float32")
    gradient = case.pairs * case.channels * 4
    peaks = [memory.peak_bytes(case, contestant_named(name, CPU), CPU) for name in ("cpu", "eager")]
    assert gradient < peaks[0] < 2 * gradient < peaks[1]


@pytest.mark.slow
@pytest.mark.skipif(memory.why_not(CPU) is not None, reason="reads /proc")
def test_memory_per_pair_leaves_out_what_there_is_for_each_atom():
    """The gradient of the pair tensor is 1 kB for each pair; what is made of the tokens is in both batches."""
    from benchmarks.cases import named
    from benchmarks.contestants import named as contestant_named

    case, cpu = named("pair dense 16x44 forward+backward float32"), contestant_named("cpu", CPU)
    peak = memory.peak_bytes(case, cpu, CPU)
    found = memory.pair_bytes(case, cpu, CPU, peak)
    few = memory.resized(case, memory.SMALL)
    assert set(few.lengths) == {memory.SMALL} and few.atoms <= case.atoms < few.atoms + memory.SMALL
    assert 0.97 * case.channels * 4 < found < min(1.03 * case.channels * 4, peak / case.pairs)


def test_environment_names_device_and_versions():
    found = environment(CPU)
    assert found["torch"] == torch.__version__ and found["threads"] == torch.get_num_threads()
    assert result_name(CPU).startswith("cpu-") and result_name(CPU).endswith("-threads.json")


def test_ceilings_are_positive(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(ceilings, "CPU_BYTES", 2**16)
    monkeypatch.setattr(ceilings, "CPU_SIZE", 64)
    monkeypatch.setattr(ceilings, "BUDGET_S", 0.01)
    for function in (ceilings.read_bandwidth, ceilings.copy_bandwidth, ceilings._matmul_rate):
        function.cache_clear()
    found = ceilings.measured(CPU, {"float32", "bfloat16"})
    assert found["read_gbs"] > 0 and found["copy_gbs"] > 0
    assert found["matmul_gflops"]["bfloat16"] >= found["matmul_gflops"]["float32"] > 0
    assert math.isfinite(ceilings.floor_seconds(CPU, "float32", 10, 10))
    assert ceilings.floor_seconds(CPU, "float32", None, None) is None
    for function in (ceilings.read_bandwidth, ceilings.copy_bandwidth, ceilings._matmul_rate):
        function.cache_clear()


def test_inputs_rotate_beyond_the_cache_of_a_gpu():
    mega = 2**20
    assert cuda.copies_beyond_cache(10 * mega, 50 * mega, 2**40) == 11
    assert cuda.copies_beyond_cache(1000 * mega, 50 * mega, 2**40) == 2
    assert cuda.copies_beyond_cache(1, 50 * mega, 2**40) == cuda.MAX_COPIES
    assert cuda.copies_beyond_cache(1000 * mega, 50 * mega, 4000 * mega) == 1
