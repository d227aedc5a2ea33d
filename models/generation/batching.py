"""Windows of records and batches of conformers, by budgets of atoms and ordered pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

WINDOW_BATCHES = 4
"""Batches' worth of conformers in work at a time. More makes fuller batches when conformers are sampled again, and
more to repeat after an interruption.
"""

WINDOW_RECORDS = 1024
"""Upper bound of a window, which otherwise would not end in a long stretch of records that fail."""


def windows(items: Iterable[tuple[Item, int]], max_atoms: int) -> Iterator[list[Item]]:
    """Consecutive items, cut where their cost (atoms of all conformers) reaches WINDOW_BATCHES * max_atoms.

    A window depends on its first item and what follows only, so that a run resumed at a window repeats it exactly.
    """
    window: list[Item] = []
    atoms = 0
    for item, cost in items:
        window.append(item)
        atoms += cost
        if atoms >= WINDOW_BATCHES * max_atoms or len(window) == WINDOW_RECORDS:
            yield window
            window, atoms = [], 0
    if window:
        yield window


def batches(jobs: Iterable[tuple[Item, int]], max_atoms: int, max_pairs: int) -> Iterator[list[Item]]:
    """Consecutive jobs, given with their number of atoms n, within sum n <= max_atoms and sum n^2 <= max_pairs.

    A job above a budget gets a batch of its own.
    """
    batch: list[Item] = []
    atoms = pairs = 0
    for job, size in jobs:
        if batch and (atoms + size > max_atoms or pairs + size * size > max_pairs):
            yield batch
            batch, atoms, pairs = [], 0, 0
        batch.append(job)
        atoms += size
        pairs += size * size
    if batch:
        yield batch
