"""Training molecules of D3MES by split and class, and their collation into images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ditkernels.models.d3mes.config import D3MESConfig
from ditkernels.models.d3mes.heavy import HeavyMolecules
from ditkernels.models.d3mes.image import encode
from ditkernels.models.d3mes.split import split_rows

CLASSES = ("acyclic", "cyclic")
"""Names of the labels 0 and 1; with one class all molecules have the label 0."""


@dataclass(frozen=True)
class Pool:
    """Molecules of one label. weight: how often an epoch shows each."""

    name: str
    weight: float


class HeavyDataset:
    """Molecules that fit into the image, split, with labels.

    molecules:   all of the source.
    atom_counts: (M,).
    labels:      (M,) int64, 0 = acyclic, 1 = cyclic; 0 throughout for a model of one class.
    sources:     one pool per label.
    left_out:    molecules of the source that the image cannot hold, by reason.
    """

    def __init__(
        self, molecules: HeavyMolecules, config: D3MESConfig, train: int, validation: int, seed: int, balance: bool
    ) -> None:
        self.molecules, self.config = molecules, config
        self.atom_counts, bond_counts = molecules.atom_counts, np.diff(molecules.bond_ptr)
        known = np.isin(molecules.atomic_numbers, config.atomic_numbers)
        strange = np.add.reduceat(~known, molecules.atom_ptr[:-1]) > 0 if len(molecules) else np.zeros(0, bool)
        large, bonded = self.atom_counts > config.max_atoms, bond_counts > config.rows
        self.left_out = {
            f"elements other than {', '.join(config.elements)}": int(strange.sum()),
            f"more than {config.max_atoms} atoms": int(large.sum()),
            f"more than {config.rows} bonds": int(bonded.sum()),
        }
        fits = ~(strange | large | bonded)
        parts = split_rows(int(molecules.entries), train, validation, seed)
        self._parts = {name: np.flatnonzero(np.isin(molecules.row, rows) & fits) for name, rows in parts.items()}
        self.labels = molecules.cyclic.astype(np.int64) if config.classes > 1 else np.zeros(len(molecules), np.int64)
        sizes = [len(self.entries("train", label)) for label in range(config.classes)]
        smallest = min(sizes)
        names = CLASSES if config.classes > 1 else ("molecules",)
        weights = [smallest / size if balance and size else 1.0 for size in sizes]
        self.sources = [Pool(name, weight) for name, weight in zip(names, weights, strict=True)]

    def entries(self, split: str, label: int | None = None) -> np.ndarray:
        """Molecules of a split (of one label, or of all), ascending."""
        found = self._parts[split]
        return found if label is None else found[self.labels[found] == label]

    def images(
        self, entries: Sequence[int] | np.ndarray, rotations: np.ndarray | None, shuffle: np.random.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Images (B, C, I, 3), labels (B,) and numbers of atoms (B,).

        rotations: (B, 3, 3), one for each molecule, or None. shuffle: puts the atoms of every molecule into a random
        order; None keeps that of the canonical SMILES.
        """
        entries = np.asarray(entries)
        molecules = self.molecules
        atoms, atom_counts = _rows(molecules.atom_ptr, entries)
        bond_rows, bond_counts = _rows(molecules.bond_ptr, entries)
        positions = molecules.positions[atoms].astype(np.float64)
        numbers, bonds = molecules.atomic_numbers[atoms], molecules.bonds[bond_rows].astype(np.int64)
        if rotations is not None:
            positions = np.einsum("txy,ty->tx", np.repeat(rotations, atom_counts, axis=0), positions)
        if shuffle is not None:
            positions, numbers, bonds = _shuffled(positions, numbers, bonds, atom_counts, bond_counts, shuffle)
        image = encode(positions, numbers, bonds, atom_counts, bond_counts, self.config)
        return image, torch.from_numpy(self.labels[entries]), torch.from_numpy(atom_counts)


def _rows(ptr: np.ndarray, entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of all entries one after the other, and how many each has."""
    counts = ptr[entries + 1] - ptr[entries]
    starts = np.cumsum(counts) - counts
    return np.arange(int(counts.sum())) + np.repeat(ptr[entries] - starts, counts), counts


def _shuffled(positions, numbers, bonds, atom_counts, bond_counts, rng: np.random.Generator):
    """The same molecules with their atoms in random order, bonds relabelled and sorted."""
    molecule = np.repeat(np.arange(len(atom_counts)), atom_counts)
    order = np.lexsort((rng.random(len(molecule)), molecule))  # order[new] = old, within each molecule
    starts = np.cumsum(atom_counts) - atom_counts
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    owner = np.repeat(np.arange(len(bond_counts)), bond_counts)
    ends = np.sort(place[bonds[:, :2] + starts[owner, None]] - starts[owner, None], axis=1)
    bonds = np.column_stack((ends, bonds[:, 2]))
    return positions[order], numbers[order], bonds[np.lexsort((bonds[:, 1], bonds[:, 0], owner))]
