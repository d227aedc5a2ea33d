"""Cases that only vary one thing: the number of molecules, the number of threads; and stacks of layers, whose peak
memory is measured. How time grows with the size of a molecule is in the operators' own cases.
"""

from __future__ import annotations

import os

from benchmarks.cases.case import BOTH, FORWARD, Case
from benchmarks.cases.pair import equal, pair_case
from benchmarks.cases.so3 import so3_case

BATCHES = (1, 4, 64)
"""Molecules of 44 atoms; 16 of them are a case of the operator."""
LAYERS = 6


def cases() -> list[Case]:
    core = frozenset({"core"})
    found = []
    for form in ("dense", "table"):
        for batch in BATCHES:
            tags = (core if form == "dense" else frozenset()) | {"gpu"}
            found.append(pair_case(form, equal(batch, 44), BOTH, tags=tags))
    for form in ("dense", "table", "displacement"):
        for threads in thread_counts():
            tags = core if form == "dense" else frozenset()
            found.append(pair_case(form, equal(16, 44), BOTH, threads=threads, tags=tags))
    # Launch overhead: a molecule so small that nothing else counts.
    for form in ("dense", "table"):
        for direction in (FORWARD, BOTH):
            found.append(pair_case(form, (9,), direction, tags=core | {"gpu", "overhead"}))
    found.append(so3_case("basis", "L = 1", 128, (9,), BOTH, tags=core | {"gpu", "overhead"}))
    memory = frozenset({"memory-only", "ragged", "gpu"})
    for form in ("dense", "dense_ab", "table", "projected", "displacement"):
        tags = memory | (core if form in ("dense", "table") else frozenset())
        found.append(pair_case(form, equal(2, 100), BOTH, layers=LAYERS, tags=tags))
    for form in ("dense", "basis"):
        found.append(so3_case(form, "L = 1", 128, equal(2, 100), BOTH, layers=LAYERS, tags=memory))
    return found


def thread_counts() -> list[int]:
    """1, 2, 4, ... up to the cores of this machine."""
    cores = os.cpu_count() or 1
    return [2**n for n in range(cores.bit_length()) if 2**n <= cores]
