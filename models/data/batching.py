"""Ragged batches by budget, in an order that is a pure function of seed, epoch and position.

Because nothing but (epoch, position) has to be remembered, an interrupted run continues with exactly the batches an
unbroken one would have seen, and every process of a distributed run knows all batches without communication.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ditkernels.models.data.dataset import MoleculeDataset


@dataclass(frozen=True)
class BatchBudget:
    """Upper bounds of one batch: molecules, atoms (sum n) and ordered pairs (sum n^2)."""

    molecules: int = 127
    atoms: int = 6000
    pairs: int = 280_000

    def __post_init__(self):
        for name in ("molecules", "atoms", "pairs"):
            if getattr(self, name) < 1:
                raise ValueError(f"batch budget: {name} must be at least 1, got {getattr(self, name)}")

    def fits(self, atom_counts: np.ndarray) -> np.ndarray:
        """Which molecules fit into a batch at all."""
        return (atom_counts <= self.atoms) & (atom_counts**2 <= self.pairs)


def pack(order: np.ndarray, atom_counts: np.ndarray, budget: BatchBudget) -> list[np.ndarray]:
    """Cut ``order`` (entry indices) into consecutive batches, each as long as the budget allows.

    The order is not changed: sorting by size would make the batches, and so the gradient noise, depend on size.
    ``atom_counts`` is indexed by entry; every entry must fit into a batch by itself.
    """
    counts = atom_counts[order].astype(np.int64)
    limits = [
        (np.concatenate([[0], np.cumsum(counts)]), budget.atoms),
        (np.concatenate([[0], np.cumsum(counts**2)]), budget.pairs),
    ]
    batches, start = [], 0
    while start < len(order):
        stop = start + budget.molecules
        for total, limit in limits:
            stop = min(stop, int(np.searchsorted(total, total[start] + limit, side="right")) - 1)
        if stop <= start:
            raise ValueError(f"a molecule of {counts[start]} atoms exceeds the batch budget {budget}")
        batches.append(order[start : min(stop, len(order))])
        start = stop
    return batches


class BatchStream:
    """Endless stream of training batches over the epochs of a data set.

    An epoch shows every training entry of a source ``weight`` times (the fractional part by a fresh random
    subset), all sources shuffled together. ``left_out`` counts entries too large for the budget.
    """

    def __init__(self, dataset: MoleculeDataset, budget: BatchBudget, seed: int):
        self._atom_counts, self._budget, self._seed = dataset.atom_counts, budget, seed
        self._pools: list[tuple[np.ndarray, float]] = []
        self.left_out = 0
        for number, source in enumerate(dataset.sources):
            entries = dataset.entries("train", number)
            fits = budget.fits(dataset.atom_counts[entries])
            self.left_out += int((~fits).sum())
            self._pools.append((entries[fits], source.weight))
        if not any(len(entries) * weight for entries, weight in self._pools):
            raise ValueError("no training molecules: every source is empty, has weight 0 or exceeds the batch budget")

    def epoch_order(self, epoch: int) -> np.ndarray:
        """Entry indices of an epoch in the order of training."""
        rng = np.random.default_rng([self._seed, epoch])
        parts = []
        for entries, weight in self._pools:
            parts.append(np.tile(entries, int(weight)))
            extra = round((weight - int(weight)) * len(entries))
            parts.append(rng.permutation(entries)[:extra])
        order = np.concatenate(parts)
        return order[rng.permutation(len(order))]

    def epoch_batches(self, epoch: int) -> list[np.ndarray]:
        """Batches of an epoch."""
        return pack(self.epoch_order(epoch), self._atom_counts, self._budget)

    def iterate(self, epoch: int, position: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """(epoch, position, entries) of every batch from the given place on, across epochs, without end."""
        while True:
            batches = self.epoch_batches(epoch)
            for index in range(position, len(batches)):
                yield epoch, index, batches[index]
            epoch, position = epoch + 1, 0


def all_batches(entries: Sequence[int] | np.ndarray, dataset: MoleculeDataset, budget: BatchBudget) -> list[np.ndarray]:
    """One pass over ``entries`` in their order, leaving out those that exceed the budget (validation)."""
    entries = np.asarray(entries)
    return pack(entries[budget.fits(dataset.atom_counts[entries])], dataset.atom_counts, budget)
