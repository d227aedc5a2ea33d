"""Peak memory of one run beyond its inputs, what a kernel allocates behind PyTorch's back included.

On a CPU the run has a process of its own, whose resident set grows to its high-water mark (Linux: VmHWM, reset through
/proc/self/clear_refs). Small and large blocks are returned to the system as soon as they are freed (mallopt), so that a
free block left over from the warm-up cannot hide an allocation. On a GPU it is the high-water mark of PyTorch's
allocator. Gradients of all floating inputs are part of the peak: of a dense pair tensor they alone are as large as it
is. The layout of stacks is the ragged one, in which PyTorch adds up the gradients of several layers in place. The run
before the one that is measured leaves thread pools, libraries and an optimizer's state behind, which so are no part of
it; gradients of weights are.
"""

from __future__ import annotations

import ctypes
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path

import torch

from benchmarks.cases import Case, named
from benchmarks.contestants import Contestant
from benchmarks.contestants import named as contestant_named

SMALL = 10
"""Atoms of the molecules that a case is compared with for its memory per pair."""
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
"""Of glibc's malloc.h."""
_BLOCK = 65536


def why_not(device: torch.device) -> str | None:
    """Why peak memory cannot be measured here, None if it can."""
    if device.type == "cuda":
        return None
    if not Path("/proc/self/clear_refs").exists():
        return "peak memory is read from /proc, which only Linux has"
    return None if hasattr(ctypes.CDLL(None), "mallopt") else "the C library has no mallopt"


def peak_bytes(case: Case, contestant: Contestant, device: torch.device, atoms: int | None = None) -> int:
    """Bytes beyond the inputs that a run needs at its peak.

    atoms: of each molecule; the case with all its atoms in molecules of that size instead
    """
    if device.type == "cuda":
        return _on_gpu(resized(case, atoms), contestant, device)
    with ProcessPoolExecutor(1, mp_context=_processes()) as pool:
        return pool.submit(_on_cpu, case.name, contestant.name, atoms).result()


@cache
def _processes() -> ForkServerContext:
    """Every process is a fork of one that has imported this module and run nothing: imports are paid once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


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


def _on_cpu(name: str, contestant: str, atoms: int | None) -> int:
    _return_blocks()
    device, case = torch.device("cpu"), resized(named(name), atoms)
    run = contestant_named(contestant, device).make(case, case.set_up(case, device))
    run()
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    gradients = run()
    peak = _status("VmHWM") - before
    del gradients
    return peak


def _return_blocks() -> None:
    """From now on, all of 64 kB and more as soon as they are freed."""
    library = ctypes.CDLL(None)
    for parameter, value in ((_M_MMAP_THRESHOLD, _BLOCK), (_M_TRIM_THRESHOLD, _BLOCK), (_M_TOP_PAD, 0)):
        if not library.mallopt(parameter, value):
            raise OSError(f"mallopt({parameter}, {value}) failed")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no field {field}")
