"""The short table of `make run`: fused kernels against the plain PyTorch reference, in well under a minute.

`pytest benchmarks` measures more carefully and more.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.cases import FORMS, Case  # noqa: E402
from benchmarks.contestants import AnyCase, eager, fused, relative_error  # noqa: E402
from benchmarks.environment import environment  # noqa: E402
from benchmarks.measure import Times, take_turns  # noqa: E402
from benchmarks.so3_cases import So3Case  # noqa: E402
from benchmarks.tables import as_text  # noqa: E402

BATCH, SIZE = 16, 44
BUDGET_S = 1.5
CASES = {
    f"{label}, {passes}": case
    for passes in ("forward", "forward+backward")
    for label, case in (
        *((f"pair_attention, {f}", Case(FORMS[f], BATCH, SIZE, passes)) for f in ("dense", "table", "displacement")),
        ("so3_attention, basis, L = 1, 4 molecules", So3Case("basis", "L = 1", 256, 4, SIZE, passes)),
    )
}


def operator_row(label: str, case: AnyCase) -> tuple[str, ...]:
    """Label, times, ratio and difference of one case of an operator."""
    inputs = case.inputs()
    runs = {"fused": fused(case, inputs), "reference": eager(case, inputs)}
    difference = relative_error(runs["fused"](), tuple(x.double() for x in runs["reference"]()))
    return (label, *_cells(take_turns(runs, BUDGET_S), difference))


def network_row(name: str) -> tuple[str, ...]:
    """The same for one evaluation of a DiTMC network (random weights) on 16 copies of a 44-atom molecule."""
    from benchmarks.sampling import build

    case = build(name)
    model = case.model
    with torch.inference_mode():
        conditioning = model.encode(case.graph)
        time = torch.full((case.graph.num_molecules,), 0.5)
        runs = {
            label: lambda impl=impl: (model.denoise(case.start, time, conditioning, impl=impl),)
            for label, impl in (("fused", "auto"), ("reference", "reference"))
        }
        difference = relative_error(runs["fused"](), tuple(x.double() for x in runs["reference"]()))
        return (f"DiTMC {name}, one evaluation", *_cells(take_turns(runs, BUDGET_S), difference))


def _cells(times: Times, difference: float) -> tuple[str, ...]:
    milliseconds = (f"{1e3 * times.median(name):.2f}" for name in ("fused", "reference"))
    return (*milliseconds, f"{times.ratio('reference', 'fused'):.1f} ×", f"{difference:.0e}")


def main() -> None:
    here = environment()
    title = (
        f"Fused kernels against the plain PyTorch reference: {BATCH} molecules of {SIZE} atoms, 256 channels, 8 heads, "
        f"float32\n{here['device']}, {here['threads']} threads, torch {here['torch']}"
    )
    rows = [operator_row(label, case) for label, case in CASES.items()] + [network_row("ape-b")]
    print(as_text((title, ("", "fused ms", "reference ms", "speed-up", "difference"), rows)))


if __name__ == "__main__":
    main()
