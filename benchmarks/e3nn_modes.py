"""Which of e3nn's modes is the fastest: all of them and the fused kernels in turns, on a case of one molecule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from benchmarks.contestants import Run, e3nn, fused
from benchmarks.e3nn_reference import MODES
from benchmarks.measure import Times, take_turns
from benchmarks.so3_cases import So3Case

SIZE = 44
BUDGET_S = 1.5


@dataclass(frozen=True)
class ModeTimes:
    """Times of the fused kernels and of the modes that run here, and why the others do not."""

    case: So3Case
    times: Times
    failed: dict[str, str]

    @property
    def fastest(self) -> str:
        return min((mode for mode in MODES if mode in self.times.seconds), key=self.times.median)

    def row(self) -> dict:
        case, times = self.case, self.times
        row = {"irreps": case.irreps, "channels": case.channels, "size": case.size, "passes": case.passes}
        row |= {f"{name}_ms": 1e3 * times.median(name) for name in times.seconds}
        row |= {f"speedup_{mode}": times.ratio(mode, "fused") for mode in MODES if mode in times.seconds}
        return row | {"modes": list(MODES), "fastest": self.fastest, "absent": self.failed}


def fastest_mode(case: So3Case) -> str:
    """The mode in which e3nn runs a case. All forms and sizes share it: e3nn's part in them is the same."""
    return mode_times(small(case.irreps, case.channels, case.passes)).fastest


def small(irreps: str, channels: int, passes: str) -> So3Case:
    return So3Case("dense", irreps, channels, 1, SIZE, passes)


@cache
def mode_times(case: So3Case) -> ModeTimes:
    inputs, failed = case.inputs(), {}
    runs: dict[str, Run] = {"fused": fused(case, inputs)}
    for mode in MODES:
        try:
            run = e3nn(case, inputs, mode)
            for _ in range(3):  # code is generated and specialized in the first calls
                run()
        except Exception as problem:  # whatever e3nn or a compiler raises: the table says so
            if mode == "eager":
                raise
            failed[mode] = f"failed: {type(problem).__name__}"
        else:
            runs[mode] = run
    return ModeTimes(case, take_turns(runs, BUDGET_S), failed)
