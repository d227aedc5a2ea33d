"""Molecules as images: rows are slots of a list, columns are 3, channels say what a slot is.

    layout  channel     row r is   columns
    v2      0           atom r     (x, y, z) / position_scale, centred on the mean of the atoms
            1 ... E     atom r     one-hot code over padding and elements, times element_scale, 3 entries to a channel
            last        bond r     (a + 1, b + 1, order), a value v of 0 ... V as (2 v / V - 1) * bond_scale
    code    0           atom r     (x, y, z) in Å
            1           atom r     three digits, CODES
            2           bond r     (a + 1, b + 1, order)

V is ``max_atoms`` for atoms and 3 for the order. Bonds have a < b, are sorted, and have nothing to do with the atom in
the same row. A bond row of zeros (in ``v2``: of their code) is padding. In ``v2`` the number of atoms of a sample is
given (it is drawn from the training data's histogram, as in EDM, arXiv 2203.17003): rows beyond it always hold the
padding code. In ``code`` (arXiv 2501.07077 as released) padding is generated like everything else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ditkernels.models.d3mes.config import D3MESConfig
from ditkernels.models.molecule.raw import RawMolecule

CODES = {0: (0, 0, 0), 6: (1, 0, 0), 7: (0, 1, 0), 8: (0, 0, 1), 9: (1, 1, 1)}
"""Digits of the elements in the layout ``code``; 0 is padding."""

ORDERS = 3
AMBIGUOUS = 0.25
"""A code is ambiguous when it lies further from the nearest one than this share of the distance between codes."""


def encode(
    positions: np.ndarray,
    atomic_numbers: np.ndarray,
    bonds: np.ndarray,
    atom_counts: np.ndarray,
    bond_counts: np.ndarray,
    config: D3MESConfig,
) -> Tensor:
    """Images (B, C, I, 3) float32 of B molecules with T atoms and E bonds.

    positions:      (T, 3) in Å; bonds: (E, 3) atoms a < b of the molecule, from 0, and order 1 to 3.
    atomic_numbers: (T,).
    atom_counts, bond_counts: (B,), numbers of rows of each molecule.

    Raises ValueError for an element that the configuration does not know, or a molecule that has too many atoms or
    bonds for the image.
    """
    _check(atomic_numbers, atom_counts, bond_counts, config)
    batch, image = len(atom_counts), _padding(len(atom_counts), config)
    molecule = np.repeat(np.arange(batch), atom_counts)
    row = _rank(atom_counts)
    if config.layout == "v2":
        sums = np.zeros((batch, 3))
        np.add.at(sums, molecule, positions)
        centred = positions - (sums / np.maximum(atom_counts, 1)[:, None])[molecule]
        image[molecule, 0, row] = centred / config.position_scale
    else:
        image[molecule, 0, row] = positions
    table = _element_codes(config)
    place = {number: k for k, number in enumerate((0, *config.atomic_numbers))}
    kind = np.array([place[number] for number in atomic_numbers.tolist()], dtype=np.int64)
    image[molecule, 1:-1, row] = table[kind].reshape(-1, config.element_channels, 3)
    values = np.asarray(bonds, dtype=np.float64).reshape(-1, 3) + (1, 1, 0)
    molecule, row = np.repeat(np.arange(batch), bond_counts), _rank(bond_counts)
    image[molecule, -1, row] = _bond_codes(values, config)
    return torch.from_numpy(image.astype(np.float32))


def decode(images: Tensor, counts: Sequence[int] | Tensor | None, config: D3MESConfig) -> list[RawMolecule]:
    """What images (B, C, I, 3) say, by the nearest codes.

    counts: atoms of each molecule in ``v2``, where they are given; None in ``code``, where they are read.
    """
    values = images.detach().double().cpu().numpy()
    table = _element_codes(config)
    spacing = min(np.linalg.norm(a - b) for k, a in enumerate(table) for b in table[:k])
    numbers = np.array((0, *config.atomic_numbers))
    found = []
    for index, image in enumerate(values):
        codes = image[1:-1].transpose(1, 0, 2).reshape(config.rows, -1)
        distance = np.linalg.norm(codes[:, None] - table, axis=-1)
        if counts is not None:
            kept = np.arange(int(counts[index]))
            kind = 1 + distance[kept, 1:].argmin(axis=1)
        else:
            kind = distance.argmin(axis=1)
            kept = np.flatnonzero(kind)
            kind = kind[kept]
        ambiguous = int((distance[kept, kind] > AMBIGUOUS * spacing).sum())
        scale = config.position_scale if config.layout == "v2" else 1.0
        bonds, dropped = _bonds(image[-1], kept, config)
        found.append(RawMolecule(numbers[kind], image[0, kept] * scale, bonds, ambiguous, dropped))
    return found


def padding(config: D3MESConfig) -> Tensor:
    """(C, I, 3) float32: the image of no atoms and no bonds."""
    return torch.from_numpy(_padding(1, config)[0].astype(np.float32))


def _padding(batch: int, config: D3MESConfig) -> np.ndarray:
    image = np.zeros((batch, config.channels, config.rows, 3))
    if config.layout == "v2":
        image[:, 1:-1] = _element_codes(config)[0].reshape(config.element_channels, 1, 3)
        image[:, -1] = -config.bond_scale
    return image


def _element_codes(config: D3MESConfig) -> np.ndarray:
    """(1 + elements, 3 * element channels): codes of padding and of the elements."""
    if config.layout == "code":
        return np.array([CODES[number] for number in (0, *config.atomic_numbers)], dtype=np.float64)
    return config.element_scale * np.eye(1 + len(config.elements), 3 * config.element_channels)


def _bond_values(config: D3MESConfig) -> np.ndarray:
    """Largest value of each column of a bond row."""
    return np.array([config.max_atoms, config.max_atoms, ORDERS], dtype=np.float64)


def _bond_codes(values: np.ndarray, config: D3MESConfig) -> np.ndarray:
    """Values (E, 3) of bond rows as the image holds them."""
    return values if config.layout == "code" else (2 * values / _bond_values(config) - 1) * config.bond_scale


def _bonds(rows: np.ndarray, kept: np.ndarray, config: D3MESConfig) -> tuple[np.ndarray, int]:
    """Bonds (m, 3) between the atoms that stand in the rows ``kept``, and how many rows named an impossible one."""
    if config.layout == "v2":
        rows = (rows / config.bond_scale + 1) / 2 * _bond_values(config)
    named = np.rint(rows).astype(np.int64)
    named = named[named[:, 2] > 0]  # order 0 is padding, whatever its atoms
    place = {int(slot) + 1: atom for atom, slot in enumerate(kept)}
    bonds: dict[tuple[int, int], int] = {}
    for a, b, order in named.tolist():
        first, second = sorted((place.get(a, -1), place.get(b, -1)))
        if first >= 0 and first != second:
            bonds.setdefault((first, second), min(order, ORDERS))
    found = np.array([(*pair, order) for pair, order in sorted(bonds.items())], dtype=np.int64).reshape(-1, 3)
    return found, len(named) - len(found)


def _rank(counts: np.ndarray) -> np.ndarray:
    """Number of every row within its molecule."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)


def _check(atomic_numbers: np.ndarray, atom_counts: np.ndarray, bond_counts: np.ndarray, config: D3MESConfig) -> None:
    unknown = sorted(set(atomic_numbers.tolist()) - set(config.atomic_numbers))
    if unknown:
        raise ValueError(f"atomic number {unknown[0]} is not among the elements {', '.join(config.elements)}")
    for what, counts, most in (("atoms", atom_counts, config.max_atoms), ("bonds", bond_counts, config.rows)):
        if len(counts) and counts.max() > most:
            raise ValueError(f"a molecule of {counts.max()} {what} does not fit into an image for {most}")
