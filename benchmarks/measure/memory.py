"""Peak memory of one run beyond its inputs, what a kernel allocates behind PyTorch's back included.

On a CPU the run has a process of its own (`python -m benchmarks.measure.memory CASE CONTESTANT`), whose resident set
grows to its high-water mark (Linux: VmHWM, reset through /proc/self/clear_refs). Small and large blocks are returned to
the system as soon as they are freed (MALLOC_*_THRESHOLD_), so that a free block left over from the warm-up cannot hide
an allocation. On a GPU it is the high-water mark of PyTorch's allocator. Gradients of all floating inputs are part of
the peak: of a dense pair tensor they alone are as large as it is. The layout of stacks is the ragged one, in which
PyTorch adds up the gradients of several layers in place. The run before the one that is measured leaves thread pools,
libraries and an optimizer's state behind, which so are no part of it; gradients of weights are.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.cases import Case, named
from benchmarks.contestants import Contestant
from benchmarks.contestants import named as contestant_named

ROOT = Path(__file__).resolve().parents[2]
SMALL = 10
"""Atoms of the molecules that a case is compared with for its memory per pair."""
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_TOP_PAD_": "0"}


def why_not(device: torch.device) -> str | None:
    """Why peak memory cannot be measured here, None if it can."""
    if device.type == "cuda" or Path("/proc/self/clear_refs").exists():
        return None
    return "peak memory is read from /proc, which only Linux has"


def peak_bytes(case: Case, contestant: Contestant, device: torch.device, atoms: int | None = None) -> int:
    """Bytes beyond the inputs that a run needs at its peak.

    atoms: of each molecule; the case with all its atoms in molecules of that size instead
    """
    if device.type == "cuda":
        return _on_gpu(resized(case, atoms), contestant, device)
    command = [sys.executable, "-m", "benchmarks.measure.memory", case.name, contestant.name]
    command += [] if atoms is None else [str(atoms)]
    environment = os.environ | _ALLOCATOR
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, text=True, stdout=subprocess.PIPE, timeout=300
    )
    return int(done.stdout)


def pair_bytes(case: Case, contestant: Contestant, device: torch.device, peak: int) -> float:
    """Bytes of a case's peak for each atom pair: what its peak exceeds that of as many atoms in small molecules by,
    over the pairs that these have less. Weights' gradients and what there is for each atom are the same in both.
    """
    few = resized(case, SMALL)
    return (peak - peak_bytes(case, contestant, device, SMALL)) / (case.pairs - few.pairs)


def resized(case: Case, atoms: int | None) -> Case:
    """The case with molecules of so many atoms each, and as many atoms in all; None: as it is."""
    return case if atoms is None else replace(case, lengths=(atoms,) * (case.atoms // atoms), batch="")


def _on_gpu(case: Case, contestant: Contestant, device: torch.device) -> int:
    run = contestant.make(case, case.set_up(case, device))
    for _ in range(2):
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        gradients = run()
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated(device) - before
        del gradients
    return peak


def _on_cpu(case: Case, contestant: Contestant) -> int:
    device = torch.device("cpu")
    run = contestant.make(case, case.set_up(case, device))
    run()
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    gradients = run()
    peak = _status("VmHWM") - before
    del gradients
    return peak


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no field {field}")


if __name__ == "__main__":
    wanted = resized(named(sys.argv[1]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
    print(_on_cpu(wanted, contestant_named(sys.argv[2], torch.device("cpu"))))
