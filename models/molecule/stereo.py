"""Does a conformer show the stereochemistry that its molecule asks for?

Checked are the elements the input specifies: tetrahedral centers (chiral tags CW / CCW, with three or four
neighbors) and double bonds (E / Z, cis / trans, in chains and in rings large enough to have both forms). Elements
left open by the input stay open. Allenes, atropisomers and square-planar or higher coordination are out of scope;
where the input specifies one of them it is listed as unchecked.

Tetrahedral center with unit vectors u_k to its neighbors in RDKit's bond order, a hydrogen last:

    V_4 = (u_1 - u_4) . ((u_2 - u_4) x (u_3 - u_4)),   V_3 = u_1 . (u_2 x u_3),   both < 0 for CW and > 0 for CCW

Unit vectors make them independent of bond lengths: |V_4| = 16 / (3 sqrt 3) = 3.08 and |V_3| a quarter of it for the
ideal tetrahedron. V_4 sees a misplaced hydrogen, V_3 is what is left to programs that ignore hydrogens; with a lone
pair (u_4 = 0) they are the same. Both must have the right sign and a tenth of the ideal size, and V_3 without
normalization at least 0.2 cubic Angstrom (ordinary centers: 2 to 3), as RDKit reads no handedness below 0.1. The
center is inverted where all have the opposite sign; anything in between is flat: wrong, and not mended by a mirror.

Double bond a-b=c-d with stereo atoms a, d: cis where cos(dihedral) > 1/2, trans where it is < -1/2; in between the
bond is twisted and wrong. A mirror leaves it as it is.

Tags are compared atom by atom: a conformer whose differing centers are exchanged by a symmetry of the molecule
counts as wrong although it may be the same stereoisomer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import Chem

IDEAL_VOLUME = 16.0 / (3.0 * 3.0**0.5)
"""|V_4| of the ideal tetrahedron; |V_3| is a quarter of it."""

FLAT_FRACTION = 0.1
MIN_VOLUME = 0.2
"""Least |V_3| with the full vectors instead of unit vectors, cubic Angstrom."""

MIN_PLANARITY = 0.5
"""Smallest |cos(dihedral)| of a double bond: 60 degrees out of plane."""

OK, MIRROR, WRONG = "ok", "mirror", "wrong"

_SIGN = {Chem.ChiralType.CHI_TETRAHEDRAL_CW: -1, Chem.ChiralType.CHI_TETRAHEDRAL_CCW: 1}
_CIS = {
    Chem.BondStereo.STEREOZ: True,
    Chem.BondStereo.STEREOCIS: True,
    Chem.BondStereo.STEREOE: False,
    Chem.BondStereo.STEREOTRANS: False,
}
_OPEN_BOND = (Chem.BondStereo.STEREONONE, Chem.BondStereo.STEREOANY)


@dataclass(frozen=True)
class StereoElements:
    """Specified elements of one molecule with k centers and m double bonds; atom indices count from 0, names from 1.

    centers (k,), neighbors (k, 4) with -1 for a lone pair, sign (k,) of V; double_bonds (m, 4) atoms a, b, c, d,
    cis (m,) bool.
    """

    centers: np.ndarray
    neighbors: np.ndarray
    sign: np.ndarray
    double_bonds: np.ndarray
    cis: np.ndarray
    center_names: tuple[str, ...]
    bond_names: tuple[str, ...]
    unspecified: tuple[str, ...]
    unchecked: tuple[str, ...]

    @property
    def any_specified(self) -> bool:
        return bool(self.center_names or self.bond_names)


@dataclass(frozen=True)
class StereoCheck:
    """Verdict on one conformer: "ok", "mirror" (its reflection is right) or "wrong"; `wrong` names the elements that
    disagree.
    """

    status: str
    wrong: tuple[str, ...]


def stereo_elements(mol: Chem.Mol) -> StereoElements:
    """Stereo elements of a sanitized molecule with explicit hydrogens."""
    centers, neighbors, sign, unchecked = [], [], [], []
    for index in range(mol.GetNumAtoms()):
        atom = mol.GetAtomWithIdx(index)
        tag = atom.GetChiralTag()
        around = [other.GetIdx() for other in atom.GetNeighbors()]
        if tag in _SIGN and len(around) in (3, 4):
            centers.append(index)
            around, parity = _hydrogen_last(mol, around)
            neighbors.append(around + [-1] * (4 - len(around)))
            sign.append(_SIGN[tag] * parity)
        elif tag != Chem.ChiralType.CHI_UNSPECIFIED:
            unchecked.append(_atom_name(atom))
    double_bonds, cis, bond_names = [], [], []
    for bond in mol.GetBonds():
        stereo = bond.GetStereo()
        if stereo in _CIS:
            first, last = bond.GetStereoAtoms()
            double_bonds.append((first, bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), last))
            cis.append(_CIS[stereo])
            bond_names.append(_bond_name(bond))
        elif stereo not in _OPEN_BOND:
            unchecked.append(_bond_name(bond))
    return StereoElements(
        centers=np.array(centers, dtype=np.int64),
        neighbors=np.array(neighbors, dtype=np.int64).reshape(-1, 4),
        sign=np.array(sign, dtype=np.int64),
        double_bonds=np.array(double_bonds, dtype=np.int64).reshape(-1, 4),
        cis=np.array(cis, dtype=bool),
        center_names=tuple(_atom_name(mol.GetAtomWithIdx(index)) for index in centers),
        bond_names=tuple(bond_names),
        unspecified=_unspecified(mol),
        unchecked=tuple(unchecked),
    )


def check_stereo(elements: StereoElements, positions: np.ndarray) -> list[StereoCheck]:
    """Verdicts on S conformers, positions (S, n, 3) in Angstrom, finite."""
    agreement = center_agreement(elements, positions)
    bonds_right = _bonds_right(elements, positions)
    return [_verdict(elements, centers, bonds) for centers, bonds in zip(agreement, bonds_right)]


def mirror(positions: np.ndarray) -> np.ndarray:
    """Reflection z -> -z of positions (..., 3)."""
    return positions * np.array([1, 1, -1], dtype=positions.dtype)


def _hydrogen_last(mol: Chem.Mol, around: list[int]) -> tuple[list[int], int]:
    """The neighbors with a hydrogen (if there is one) at the end, and the parity of this permutation."""
    for place, index in enumerate(around):
        if mol.GetAtomWithIdx(index).GetAtomicNum() == 1:
            parity = -1 if (len(around) - 1 - place) % 2 else 1
            return [*around[:place], *around[place + 1 :], index], parity
    return around, 1


def _verdict(elements: StereoElements, agreement: np.ndarray, bonds_right: np.ndarray) -> StereoCheck:
    if (agreement > 0).all() and bonds_right.all():
        return StereoCheck(OK, ())
    wrong = _select(elements.center_names, agreement <= 0) + _select(elements.bond_names, ~bonds_right)
    mended = len(agreement) > 0 and (agreement < 0).all() and bonds_right.all()
    return StereoCheck(MIRROR if mended else WRONG, wrong)


def _select(names: Sequence[str], chosen: np.ndarray) -> tuple[str, ...]:
    return tuple(name for name, flag in zip(names, chosen) if flag)


def center_agreement(elements: StereoElements, positions: np.ndarray) -> np.ndarray:
    """For positions (S, n, 3) in Å, (S, k) integers: +1 where a center is as specified, -1 inverted, 0 flat."""
    arms = positions[:, elements.neighbors] - positions[:, elements.centers, None]  # (S, k, 4, 3)
    directions = _unit(arms)
    lone_pair = elements.neighbors[:, 3] < 0
    directions[:, lone_pair, 3] = 0.0
    three = _volume(directions[:, :, :3]) / (IDEAL_VOLUME / 4.0)
    four = _volume(directions[:, :, :3] - directions[:, :, 3:]) / np.where(lone_pair, IDEAL_VOLUME / 4.0, IDEAL_VOLUME)
    clear = np.minimum(np.abs(three), np.abs(four)) >= FLAT_FRACTION
    clear &= np.abs(_volume(arms[:, :, :3])) >= MIN_VOLUME
    agreement = np.sign(three) * elements.sign
    return np.where(clear & (np.sign(three) == np.sign(four)), agreement, 0).astype(np.int64)


def _volume(edges: np.ndarray) -> np.ndarray:
    """Triple products (S, k) of edges (S, k, 3, 3)."""
    return np.einsum("skx,skx->sk", edges[:, :, 0], np.cross(edges[:, :, 1], edges[:, :, 2]))


def _bonds_right(elements: StereoElements, positions: np.ndarray) -> np.ndarray:
    """(S, m) bool."""
    first, begin, end, last = np.moveaxis(positions[:, elements.double_bonds], 2, 0)  # each (S, m, 3)
    axis = end - begin
    cosine = (_unit(np.cross(first - begin, axis)) * _unit(np.cross(last - end, axis))).sum(axis=-1)
    return np.where(elements.cis, cosine, -cosine) > MIN_PLANARITY


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length one; a zero vector stays zero, which the checks then see as flat or twisted."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def _unspecified(mol: Chem.Mol) -> tuple[str, ...]:
    """Names of the tetrahedral centers and double bonds that could carry stereochemistry but are left open."""
    names = []
    for info in Chem.FindPotentialStereo(mol):
        if info.specified == Chem.StereoSpecified.Specified:
            continue
        if info.type == Chem.StereoType.Atom_Tetrahedral:
            names.append(_atom_name(mol.GetAtomWithIdx(info.centeredOn)))
        elif info.type == Chem.StereoType.Bond_Double:
            bond = mol.GetBondWithIdx(info.centeredOn)
            if not _cumulated(bond):
                names.append(_bond_name(bond))
    return tuple(names)


def _cumulated(bond: Chem.Bond) -> bool:
    """True for a double bond next to another one, as in an allene."""
    return any(
        other.GetBondType() == Chem.BondType.DOUBLE
        for atom in (bond.GetBeginAtom(), bond.GetEndAtom())
        if atom.GetHybridization() == Chem.HybridizationType.SP
        for other in atom.GetBonds()
        if other.GetIdx() != bond.GetIdx()
    )


def _atom_name(atom: Chem.Atom) -> str:
    return f"{atom.GetSymbol()}{atom.GetIdx() + 1}"


def _bond_name(bond: Chem.Bond) -> str:
    link = "=" if bond.GetBondType() == Chem.BondType.DOUBLE else "-"
    return f"{_atom_name(bond.GetBeginAtom())}{link}{_atom_name(bond.GetEndAtom())}"
