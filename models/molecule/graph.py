"""Molecules as arrays: one molecule (NumPy) and a ragged batch of molecules (torch).

Positions are not part of a graph, and hydrogens are ordinary atoms. The pair (i, j) of a molecule has receiver i and
sender j and lies at row `pair_offset + i * n + j` of every flat pair array, self pairs (hop count 0) included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

DISCONNECTED_HOPS = 510
"""Hop count of two atoms without a path between them (arXiv 2506.15378, released code)."""

HOP_TABLE_ROWS = 512
"""Rows of the hop embedding; a bond path may be up to 509 long."""


@dataclass(frozen=True)
class MolecularGraph:
    """One molecule with n atoms and m bonds; D is the width of the attribute layout (64 or 94).

    atomic_numbers  (n,)   int16
    atom_features   (n, D) uint8, one-hot groups of `ditkernels.models.molecule.featurize`
    bonds           (m, 2) int32, every bond once, smaller atom index first
    bond_features   (m, 4) uint8, one-hot of single, double, triple, aromatic
    hops            (n, n) int16, bonds on the shortest path, 0 on the diagonal, 510 where there is no path
    """

    atomic_numbers: np.ndarray
    atom_features: np.ndarray
    bonds: np.ndarray
    bond_features: np.ndarray
    hops: np.ndarray

    @property
    def num_atoms(self) -> int:
        return len(self.atomic_numbers)

    @property
    def num_bonds(self) -> int:
        return len(self.bonds)

    @property
    def num_fragments(self) -> int:
        """Connected components: every atom counts 1 / (size of its component)."""
        component_size = (self.hops != DISCONNECTED_HOPS).sum(axis=1)
        return int(round(float((1.0 / component_size).sum())))

    def permuted(self, order: np.ndarray) -> MolecularGraph:
        """The same molecule with its atoms in another order: atom k is atom `order[k]` of this one."""
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        return MolecularGraph(
            self.atomic_numbers[order],
            self.atom_features[order],
            np.sort(rank[self.bonds], axis=1).astype(self.bonds.dtype),
            self.bond_features,
            self.hops[order][:, order],
        )


@dataclass(frozen=True)
class GraphBatch:
    """B molecules, T atoms, E directed bonds, P = sum n_b^2 ordered pairs (self pairs included), S distinct hop counts.

    atomic_numbers  (T,)   int64
    atom_features   (T, D) float32
    bond_senders    (E,)   int64, atom index in the batch; both directions of every bond
    bond_receivers  (E,)   int64
    bond_features   (E, 4) float32
    hop_index       (P,)   int32, row of `hop_values`
    hop_values      (S,)   int64, sorted distinct hop counts of the batch = rows of the hop embedding
    cu_seqlens      (B+1,) int32, first atom of every molecule, then T
    molecule        (T,)   int64, molecule of every atom
    """

    atomic_numbers: Tensor
    atom_features: Tensor
    bond_senders: Tensor
    bond_receivers: Tensor
    bond_features: Tensor
    hop_index: Tensor
    hop_values: Tensor
    cu_seqlens: Tensor
    molecule: Tensor

    @property
    def num_molecules(self) -> int:
        return self.cu_seqlens.shape[0] - 1

    @property
    def num_atoms(self) -> int:
        return self.atomic_numbers.shape[0]

    def atom_index(self) -> Tensor:
        """(T,) int64: the place of every atom in its molecule."""
        return torch.arange(self.num_atoms, device=self.molecule.device) - self.cu_seqlens[self.molecule]

    def pair_rows(self, receivers: Tensor, senders: Tensor) -> Tensor:
        """Rows (...) int64 in flat pair arrays of the pairs of a receiver and a sender of the same molecule, both (...)
        int64 atom indices in the batch.
        """
        starts = self.cu_seqlens.long()
        sizes = starts[1:] - starts[:-1]
        ends = (sizes * sizes).cumsum(0)
        molecule = self.molecule[receivers]
        size, start = sizes[molecule], starts[molecule]
        return ends[molecule] - size * size + (receivers - start) * size + (senders - start)

    def bond_index(self) -> Tensor:
        """(P,) int32: 1 + e for the pair of the directed bond e (receiver i = `bond_receivers[e]`, sender j =
        `bond_senders[e]`), 0 for pairs without a bond.
        """
        index = torch.zeros_like(self.hop_index, dtype=torch.int32)
        bonds = torch.arange(1, self.bond_senders.shape[0] + 1, dtype=torch.int32, device=index.device)
        return index.scatter_(0, self.pair_rows(self.bond_receivers, self.bond_senders), bonds)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None, non_blocking: bool = False
    ) -> GraphBatch:
        """Moves all tensors to `device`; `dtype` converts the floating-point features only."""

        def move(tensor: Tensor) -> Tensor:
            target = dtype if tensor.is_floating_point() else None
            return tensor.to(device=device, dtype=target, non_blocking=non_blocking)

        return GraphBatch(**{field.name: move(getattr(self, field.name)) for field in fields(self)})

    def pin_memory(self) -> GraphBatch:
        """Page-locked copies, so that `.to(device, non_blocking=True)` overlaps with computation."""
        return GraphBatch(**{field.name: getattr(self, field.name).pin_memory() for field in fields(self)})


def collate(graphs: Sequence[MolecularGraph]) -> GraphBatch:
    """Ragged batch of `graphs`, in their order. Raises ValueError for an empty sequence or mixed attribute layouts."""
    if not graphs:
        raise ValueError("collate needs at least one molecule, got an empty sequence")
    widths = {graph.atom_features.shape[1] for graph in graphs}
    if len(widths) > 1:
        raise ValueError(f"collate got molecules of different attribute layouts, with widths {sorted(widths)}")
    return collate_arrays(
        atom_counts=np.array([graph.num_atoms for graph in graphs], dtype=np.int64),
        bond_counts=np.array([graph.num_bonds for graph in graphs], dtype=np.int64),
        atomic_numbers=np.concatenate([graph.atomic_numbers for graph in graphs]),
        atom_features=np.concatenate([graph.atom_features for graph in graphs]),
        bonds=np.concatenate([graph.bonds for graph in graphs]),
        bond_features=np.concatenate([graph.bond_features for graph in graphs]),
        hops=np.concatenate([graph.hops.reshape(-1) for graph in graphs]),
    )


def collate_arrays(
    *,
    atom_counts: np.ndarray,
    bond_counts: np.ndarray,
    atomic_numbers: np.ndarray,
    atom_features: np.ndarray,
    bonds: np.ndarray,
    bond_features: np.ndarray,
    hops: np.ndarray,
) -> GraphBatch:
    """Ragged batch from flat arrays, the molecules one after the other (any integer dtype).

    atom_counts (B,), bond_counts (B,), atomic_numbers (T,), atom_features (T, D), bonds (M, 2) with atom indices
    local to their molecule, bond_features (M, 4), hops (P,) = the (n, n) matrices flattened row by row. Raises
    ValueError where the lengths disagree.
    """
    atom_counts = atom_counts.astype(np.int64, copy=False)
    num_atoms, num_pairs = int(atom_counts.sum()), int((atom_counts * atom_counts).sum())
    num_bonds = int(bond_counts.sum())
    found = (len(atomic_numbers), len(atom_features), len(bonds), len(bond_features), len(hops))
    if found != (num_atoms, num_atoms, num_bonds, num_bonds, num_pairs):
        raise ValueError(
            "atomic_numbers, atom_features, bonds, bond_features, hops have lengths "
            f"{found}, but the counts ask for {(num_atoms, num_atoms, num_bonds, num_bonds, num_pairs)}"
        )
    offsets = np.zeros(len(atom_counts) + 1, dtype=np.int64)
    np.cumsum(atom_counts, out=offsets[1:])

    bonds = bonds.astype(np.int64) + np.repeat(offsets[:-1], bond_counts)[:, None]
    # Row 2m is bond m from its first to its second atom, row 2m + 1 the way back.
    senders, receivers = bonds.reshape(-1), bonds[:, ::-1].reshape(-1)

    # Counting is linear in P, where np.unique would sort all pairs.
    row_of_hop = np.bincount(hops, minlength=HOP_TABLE_ROWS) > 0
    hop_values = np.flatnonzero(row_of_hop)
    lookup = (np.cumsum(row_of_hop) - 1).astype(np.int32)

    return GraphBatch(
        atomic_numbers=torch.from_numpy(atomic_numbers.astype(np.int64)),
        atom_features=torch.from_numpy(atom_features.astype(np.float32)),
        bond_senders=torch.from_numpy(senders),
        bond_receivers=torch.from_numpy(receivers.copy()),
        bond_features=torch.from_numpy(np.repeat(bond_features.astype(np.float32), 2, axis=0)),
        hop_index=torch.from_numpy(lookup[hops]),
        hop_values=torch.from_numpy(hop_values),
        cu_seqlens=torch.from_numpy(offsets.astype(np.int32)),
        molecule=torch.from_numpy(np.repeat(np.arange(len(atom_counts), dtype=np.int64), atom_counts)),
    )
