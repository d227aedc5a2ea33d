"""Several preprocessed sources as one set of entries, and the collation of any of them into a ragged batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ditkernels.models.data.cache import CachedMolecules
from ditkernels.models.data.records import SPLITS
from ditkernels.models.data.splits import assign, unify
from ditkernels.models.molecule.featurize import BOND_TYPES
from ditkernels.models.molecule.graph import GraphBatch, collate_arrays


@dataclass(frozen=True)
class Source:
    """A preprocessed source and its role.

    name:       for logs and reports.
    cache:      its arrays.
    weight:     how often an epoch shows each training entry: 1 once, 3 three times, 0.5 every other entry.
    validation: share of the connectivities kept for validation (where the source itself names no split).
    test:       share kept for the final test.
    """

    name: str
    cache: CachedMolecules
    weight: float = 1.0
    validation: float = 0.02
    test: float = 0.02


@dataclass(frozen=True)
class CollatedMolecules:
    """Batch of B molecules, T atoms.

    graph:     the molecular graphs.
    positions: (T, 3) float32, Å, as in the source (not centered).
    factors:   per molecule the symmetric root (n, n) float32 of the harmonic prior's covariance, Å.
    """

    graph: GraphBatch
    positions: Tensor
    factors: list[np.ndarray]


class MoleculeDataset:
    """Entries of all sources under one global numbering: source 0 first, then source 1, ...

    sources:     as given.
    atom_counts: (M,) int64.
    split:       (M,) uint8, index into ``SPLITS``; a connectivity lies in one split only, across all sources.
    source_of:   (M,) int64.
    """

    def __init__(self, sources: Sequence[Source], excluded_keys: np.ndarray | None = None):
        if not sources:
            raise ValueError("a data set needs at least one source")
        layouts = {source.cache.layout for source in sources}
        if len(layouts) > 1:
            raise ValueError(f"the sources have different attribute layouts: {', '.join(sorted(layouts))}")
        self.sources = list(sources)
        self.num_features = sources[0].cache.num_features
        keys = [s.cache.keys for s in sources]
        splits = [assign(s.cache.keys, s.cache.split, s.validation, s.test) for s in sources]
        excluded = np.zeros(0, np.uint64) if excluded_keys is None else excluded_keys
        self.split = np.concatenate(unify(keys, splits, excluded))
        sizes = [len(s.cache) for s in sources]
        self.offsets = np.concatenate([[0], np.cumsum(sizes)])
        self.source_of = np.repeat(np.arange(len(sources)), sizes)
        self.atom_counts = np.concatenate([s.cache.atom_counts for s in sources])
        # Plain views: slicing a numpy.memmap costs several times more than slicing an array.
        self._columns = [
            {n: np.asarray(getattr(s.cache, n)) for n in _ATOM_COLUMNS + _BOND_COLUMNS + _PAIR_COLUMNS} for s in sources
        ]

    def __len__(self) -> int:
        return len(self.split)

    def entries(self, split: str, source: int | None = None) -> np.ndarray:
        """Global indices, ascending, of the entries in ``split`` (of one source, or of all)."""
        chosen = self.split == SPLITS.index(split)
        return np.flatnonzero(chosen if source is None else chosen & (self.source_of == source))

    def locate(self, entry: int) -> tuple[CachedMolecules, int]:
        """The cache that holds a global index, and the index in it."""
        source = int(self.source_of[entry])
        return self.sources[source].cache, int(entry - self.offsets[source])

    def collate(self, entries: Sequence[int] | np.ndarray) -> CollatedMolecules:
        """Ragged batch of the given global indices, in their order."""
        gathered: dict[str, list[np.ndarray]] = {n: [] for n in _ATOM_COLUMNS + _BOND_COLUMNS + _PAIR_COLUMNS}
        for entry in np.asarray(entries).tolist():
            source = self.source_of[entry]
            cache, columns = self.sources[source].cache, self._columns[source]
            m = entry - self.offsets[source]
            for names, ptr in (
                (_ATOM_COLUMNS, cache.atom_ptr),
                (_BOND_COLUMNS, cache.bond_ptr),
                (_PAIR_COLUMNS, cache.pair_ptr),
            ):
                rows = slice(ptr[m], ptr[m + 1])
                for name in names:
                    gathered[name].append(columns[name][rows])
        counts = self.atom_counts[entries]
        flat = {name: np.concatenate(parts) for name, parts in gathered.items() if name != "prior"}
        graph = collate_arrays(
            atom_counts=counts,
            bond_counts=np.array([len(b) for b in gathered["bonds"]], dtype=np.int64),
            atomic_numbers=flat["atomic_numbers"],
            atom_features=np.unpackbits(flat["atom_features"], axis=1, count=self.num_features),
            bonds=flat["bonds"],
            bond_features=_BOND_ONE_HOT[flat["bond_types"]],
            hops=flat["hops"],
        )
        factors = [f.reshape(n, n) for f, n in zip(gathered["prior"], counts.tolist(), strict=True)]
        return CollatedMolecules(graph, torch.from_numpy(flat["positions"]), factors)


_ATOM_COLUMNS = ("positions", "atomic_numbers", "atom_features")
_BOND_COLUMNS = ("bonds", "bond_types")
_PAIR_COLUMNS = ("hops", "prior")
_BOND_ONE_HOT = np.eye(len(BOND_TYPES), dtype=np.uint8)
