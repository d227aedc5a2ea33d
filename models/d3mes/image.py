"""Molecules as images: rows are slots of a list, columns are 3, channels say what a slot is.

    layout  channel     row r is   columns
    v2      0           atom r     (x, y, z) / position_scale, centred on the mean of the atoms
            1 ... E     atom r     one-hot code over padding and elements, times element_scale, 3 entries to a channel
            last        a bond     (2 a / (max_atoms - 1) - 1, 2 b / (max_atoms - 1) - 1, 2 order / 3 - 1) * bond_scale
    code    0           atom r     (x, y, z) in Å
            1           atom r     three digits, see :mod:`ditkernels.models.d3mes.codes`
            2           a bond     (a + 1, b + 1, order)

Bonds have atoms a < b, counted from 0. In ``code`` (arXiv 2501.07077 as released) they are sorted, have nothing to do
with the atom in the same row, and rows without atom or bond are 0 and generated like everything else.

In ``v2`` the number of atoms of a sample is given (it is drawn from the training data's histogram, as in EDM, arXiv
2203.17003): rows beyond it always hold the padding code. The bond of atom b with the latest of its earlier neighbours
stands in row b; in the order of a SMILES this is the bond that led to b, so that a patch holds bonds of its own atoms,
and b follows from the row. The others, which close rings, fill the free rows in the order (b, a), first those beyond
the atoms. A row without bond is (1, -1, -1) * bond_scale: a > b is nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ditkernels.models.d3mes.codes import released_codes
from ditkernels.models.d3mes.config import D3MESConfig
from ditkernels.models.molecule.raw import RawMolecule

ORDERS = 3
NO_BOND = np.array([1.0, -1.0, -1.0])
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

    positions:      (T, 3) in Å; bonds: (E, 3) atoms a < b of the molecule, from 0, and order 1 to 3; each pair once.
    atomic_numbers: (T,).
    atom_counts, bond_counts: (B,), numbers of rows of each molecule.

    Raises ValueError for an element that the configuration does not know, for a bond that is not as above, or a
    molecule that has too many atoms or bonds for the image.
    """
    batch = len(atom_counts)
    bonds = np.asarray(bonds, dtype=np.int64).reshape(-1, 3)
    owner = np.repeat(np.arange(batch), bond_counts)
    _check(atomic_numbers, bonds, owner, atom_counts, bond_counts, config)
    image = _padding(batch, config)
    molecule = np.repeat(np.arange(batch), atom_counts)
    row = np.arange(len(molecule)) - np.repeat(np.cumsum(atom_counts) - atom_counts, atom_counts)
    if config.layout == "v2":
        sums = np.zeros((batch, 3))
        np.add.at(sums, molecule, positions)
        positions = (positions - (sums / np.maximum(atom_counts, 1)[:, None])[molecule]) / config.position_scale
    image[molecule, 0, row] = positions
    place = np.zeros(max(config.atomic_numbers) + 1, dtype=np.int64)
    place[list(config.atomic_numbers)] = 1 + np.arange(len(config.elements))
    codes = element_codes(config)[place[atomic_numbers]]
    image[molecule, 1:-1, row] = codes.reshape(-1, config.element_channels, 3)
    image[owner, -1, _bond_rows(bonds, owner, atom_counts, config)] = _bond_codes(bonds, config)
    return torch.from_numpy(image.astype(np.float32))


def decode(images: Tensor, counts: Sequence[int] | Tensor | None, config: D3MESConfig) -> list[RawMolecule]:
    """What images (B, C, I, 3) say, by the nearest codes. Numbers that are not finite make an atom of element 0, and a
    bond that is dropped, as are bonds that do not name atoms a < b that exist, or a pair again.

    counts: atoms of each molecule in ``v2``, where they are given; None in ``code``, where they are read.

    Raises ValueError for images of another shape, or counts that do not fit.
    """
    shape = (config.channels, config.rows, 3)
    if images.dim() != 4 or tuple(images.shape[1:]) != shape:
        raise ValueError(f"images must have shape (B, {', '.join(map(str, shape))}), got {tuple(images.shape)}")
    if (counts is not None) != config.masked:
        raise ValueError(f"counts must be {'given' if config.masked else 'None'} for layout {config.layout}")
    values = images.detach().double().cpu().numpy()
    slots = np.arange(config.rows)
    kinds, far = _elements(values[:, 1:-1].swapaxes(1, 2).reshape(len(values), config.rows, -1), config)
    if counts is None:
        atoms = kinds != 0
    else:
        counts = np.asarray(counts)
        if counts.shape != (len(values),) or (counts < 1).any() or (counts > config.max_atoms).any():
            raise ValueError(f"counts must be {len(values)} numbers from 1 to {config.max_atoms}, got {counts}")
        atoms = slots < counts[:, None]
    numbers = np.array((0, *config.atomic_numbers, 0))  # the last one for numbers that are not finite
    scale = config.position_scale if config.masked else 1.0
    found = []
    for image, kind, strange, kept, bonds in zip(values, kinds, far, atoms, _named_bonds(values[:, -1], config)):
        rows, dropped = _possible_bonds(bonds, kept)
        ambiguous = int(strange[kept].sum())
        found.append(RawMolecule(numbers[kind[kept]], image[0, kept] * scale, rows, ambiguous, dropped))
    return found


def element_codes(config: D3MESConfig) -> np.ndarray:
    """Codes (1 + elements, 3 * element channels) float64 of padding and of the elements."""
    if config.layout == "code":
        return np.array([(0, 0, 0), *released_codes(config.elements).values()], dtype=np.float64)
    return config.element_scale * np.eye(1 + len(config.elements), 3 * config.element_channels)


def bond_codes(config: D3MESConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes (E, 3) float64 of all bonds (E, 3) int64 that an image can name, orders 1 to 3 of a pair one after another;
    and the code (3,) of no bond, in ``v2``.
    """
    first, second = np.triu_indices(config.max_atoms, 1)
    pairs = np.repeat(np.stack((first, second), axis=-1), ORDERS, axis=0)
    bonds = np.concatenate((pairs, np.tile(1 + np.arange(ORDERS), len(first))[:, None]), axis=-1)
    return _bond_codes(bonds, config), bonds, NO_BOND * config.bond_scale


def channels_to_rows(channels: Tensor) -> Tensor:
    """Channels (B, E, I, 3) of images to what each row holds, (B, I, 3 E)."""
    return channels.transpose(1, 2).flatten(-2)


def rows_to_channels(rows: Tensor) -> Tensor:
    """The inverse: (B, I, 3 E) to (B, E, I, 3)."""
    return rows.unflatten(-1, (-1, 3)).transpose(1, 2)


def padding(config: D3MESConfig) -> Tensor:
    """(C, I, 3) float32: the image of no atoms and no bonds."""
    return torch.from_numpy(_padding(1, config)[0].astype(np.float32))


def _padding(batch: int, config: D3MESConfig) -> np.ndarray:
    image = np.zeros((batch, config.channels, config.rows, 3))
    image[:, 1:-1] = element_codes(config)[0].reshape(config.element_channels, 1, 3)
    if config.layout == "v2":
        image[:, -1] = NO_BOND * config.bond_scale
    return image


def _bond_scales(config: D3MESConfig) -> np.ndarray:
    """Largest value of each column of a bond in layout v2."""
    last = max(config.max_atoms - 1, 1)
    return np.array([last, last, ORDERS], dtype=np.float64)


def _bond_codes(bonds: np.ndarray, config: D3MESConfig) -> np.ndarray:
    """Bonds (..., 3) as the image holds them."""
    if config.layout == "code":
        return bonds + np.array([1.0, 1.0, 0.0])
    return (2 * bonds / _bond_scales(config) - 1) * config.bond_scale


def _bond_rows(bonds: np.ndarray, owner: np.ndarray, atom_counts: np.ndarray, config: D3MESConfig) -> np.ndarray:
    """Row of the image for every bond (E, 3) of the molecules ``owner`` (E,), which is sorted."""
    first, second = (0, 1) if config.layout == "code" else (1, 0)
    order = np.lexsort((bonds[:, second], bonds[:, first], owner))
    sorted_rows = np.empty(len(bonds), dtype=np.int64)
    if config.layout == "code":
        sorted_rows[:] = _rank(owner)
    else:
        later = bonds[order, 1]
        # Of the bonds with the same later atom, the last one has the latest of the earlier neighbours.
        own = np.ones(len(bonds), dtype=bool)
        own[:-1] = (owner[1:] != owner[:-1]) | (later[1:] != later[:-1])
        preference = (np.arange(config.rows) - np.asarray(atom_counts)[:, None]) % config.rows
        preference[owner[own], later[own]] += config.rows
        closing = owner[~own]
        sorted_rows[own] = later[own]
        sorted_rows[~own] = preference.argsort(axis=1)[closing, _rank(closing)]
    rows = np.empty_like(sorted_rows)
    rows[order] = sorted_rows
    return rows


def _rank(groups: np.ndarray) -> np.ndarray:
    """Place of every entry within its group; group numbers are sorted."""
    return np.arange(len(groups)) - np.searchsorted(groups, groups)


def _elements(codes: np.ndarray, config: D3MESConfig) -> tuple[np.ndarray, np.ndarray]:
    """Nearest code (B, I) of rows of digits: 0 for padding (layout code only), then the elements, last what is not
    finite; and whether it is far.
    """
    table = element_codes(config)
    spacing = min(np.linalg.norm(a - b) for k, a in enumerate(table) for b in table[:k])
    finite = np.isfinite(codes).all(axis=-1)
    distance = np.linalg.norm(np.where(finite[..., None], codes, 0.0)[..., None, :] - table, axis=-1)
    if config.masked:
        distance[..., 0] = np.inf
    kind = np.where(finite, distance.argmin(axis=-1), len(table))
    return kind, ~finite | (distance.min(axis=-1) > AMBIGUOUS * spacing)


def _named_bonds(rows: np.ndarray, config: D3MESConfig) -> np.ndarray:
    """Atoms from 0 and order (B, I, 3) int64 that bond rows name; order -1 in rows without bond."""
    finite = np.isfinite(rows).all(axis=-1, keepdims=True)
    rows = np.clip(np.where(finite, rows, 0.0), -1e6, 1e6)
    if config.layout == "code":
        bonds = np.rint(rows).astype(np.int64)
        absent = (bonds == 0).all(axis=-1, keepdims=True)
        bonds -= (1, 1, 0)
        bonds[..., 2] = bonds[..., 2].clip(1, ORDERS)
    else:
        scales = _bond_scales(config)
        bonds = np.rint((rows / config.bond_scale + 1) / 2 * scales).clip((0, 0, 1), scales).astype(np.int64)
        codes = _bond_codes(bonds, config), NO_BOND * config.bond_scale
        to_bond, to_none = (np.linalg.norm(rows - code, axis=-1, keepdims=True) for code in codes)
        absent = to_none < to_bond
    return np.where(finite, np.where(absent, -1, bonds), (-1, -1, 0))


def _possible_bonds(bonds: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, int]:
    """Bonds (m, 3) between the atoms that stand in the rows ``kept``, and how many rows named an impossible one."""
    named = bonds[bonds[:, 2] >= 0]
    place = {int(slot): atom for atom, slot in enumerate(np.flatnonzero(kept))}
    found: dict[tuple[int, int], int] = {}
    for a, b, order in named.tolist():
        if a < b and a in place and b in place:
            found.setdefault((place[a], place[b]), order)
    rows = np.array([(*pair, order) for pair, order in sorted(found.items())], dtype=np.int64).reshape(-1, 3)
    return rows, len(named) - len(rows)


def _check(atomic_numbers, bonds, owner, atom_counts, bond_counts, config: D3MESConfig) -> None:
    unknown = sorted(set(np.unique(atomic_numbers).tolist()) - set(config.atomic_numbers))
    if unknown:
        raise ValueError(f"atomic number {unknown[0]} is not among the elements {', '.join(config.elements)}")
    for what, counts, most in (("atoms", atom_counts, config.max_atoms), ("bonds", bond_counts, config.rows)):
        if len(counts) and counts.max() > most:
            raise ValueError(f"a molecule of {counts.max()} {what} does not fit into an image for {most}")
    first, second, order = bonds.T
    bad = (first < 0) | (first >= second) | (second >= np.asarray(atom_counts)[owner])
    if bad.any():
        raise ValueError(f"bonds must have atoms a < b < n, got {first[bad][0]} and {second[bad][0]}")
    bad = (order < 1) | (order > ORDERS)
    if bad.any():
        raise ValueError(f"bonds must have an order from 1 to {ORDERS}, got {order[bad][0]}")
    pairs = (owner * config.rows + first) * config.rows + second
    if len(np.unique(pairs)) < len(pairs):
        raise ValueError("bonds must name every pair of atoms once")
