"""The short table of `make run`: fused kernels against the plain PyTorch reference, in well under a minute.

`make bench` measures more carefully and more.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.cases import Case, named  # noqa: E402
from benchmarks.contestants import automatic  # noqa: E402
from benchmarks.contestants import named as contestant_named  # noqa: E402
from benchmarks.measure.cpu import CpuTimer  # noqa: E402
from benchmarks.measure.environment import environment  # noqa: E402
from benchmarks.measure.record import relative_error  # noqa: E402
from benchmarks.measure.turns import Turns  # noqa: E402
from benchmarks.report.tables import as_text  # noqa: E402

CPU = torch.device("cpu")
CASES = (
    *(
        f"pair {form} 16x44 {direction} float32"
        for direction in ("forward", "forward+backward")
        for form in ("dense", "table", "displacement")
    ),
    "so3 basis L=1 C128 4x44 forward+backward float32",
    "network ape-b 16x44 evaluation float32",
)


def row(case: Case) -> tuple[str, ...]:
    """Name, times, ratio and difference of one case."""
    work, lead = case.set_up(case, CPU), automatic(case, CPU)
    runs = {name: contestant_named(name, CPU).make(case, work) for name in dict.fromkeys((lead, "eager"))}
    difference = relative_error(runs[lead](), tuple(x.double() for x in runs["eager"]()), joint=True)
    times = Turns({name: CpuTimer(run) for name, run in runs.items()}, case.budget, lead).run()
    milliseconds = (f"{1e3 * times.median(name):.2f}" for name in (lead, "eager"))
    return (case.name, lead, *milliseconds, f"{times.ratio('eager', lead):.1f} ×", f"{difference:.0e}")


def main() -> None:
    here = environment(CPU)
    title = f"Our kernels against plain PyTorch: {here['device']}, {here['threads']} threads, torch {here['torch']}"
    rows = [row(replace(named(name), budget=1.0)) for name in CASES]
    print(as_text((title, ("case", "back-end", "ms", "eager ms", "speed-up", "difference"), rows)))


if __name__ == "__main__":
    main()
