"""What a reader yields: one molecule with one geometry, or the reason why there is none."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from rdkit import Chem

SPLITS = ("train", "validation", "test", "excluded")
SPLIT_UNSET = 255
_SPLIT_NAMES = {"train": 0, "val": 1, "valid": 1, "validation": 1, "test": 2, "excluded": 3}


@dataclass(frozen=True)
class Record:
    """One molecule (hydrogens explicit, stereo marks taken from the geometry) with one geometry.

    mol:       RDKit molecule with one conformer.
    positions: (n, 3) float32, Å, in the atom order of ``mol``.
    name:      identifier within the source.
    split:     index into ``SPLITS`` given by the source itself, ``SPLIT_UNSET`` if it gives none.
    """

    mol: Chem.Mol
    positions: np.ndarray
    name: str
    split: int = SPLIT_UNSET


@dataclass(frozen=True)
class Dropped:
    """An entry left out of the data set. ``reason`` is a short phrase shared by all entries of its kind."""

    name: str
    reason: str
    detail: str = ""


def split_index(name: str, where: str) -> int:
    """Index into ``SPLITS`` of a split named in a file (``val`` and ``valid`` mean ``validation``)."""
    try:
        return _SPLIT_NAMES[name.strip().lower()]
    except KeyError:
        raise ValueError(f"{where}: unknown split {name!r}, expected train, validation or test") from None


def connectivity_smiles(mol: Chem.Mol) -> str:
    """Canonical SMILES of the heavy-atom graph without stereo marks and isotopes: equal for all stereoisomers."""
    return Chem.MolToSmiles(Chem.RemoveHs(mol), isomericSmiles=False)


def connectivity_key(smiles: str) -> int:
    """64-bit hash of a connectivity SMILES. Splits are cut by this number, so a graph lies in one split only."""
    return int.from_bytes(hashlib.sha256(smiles.encode()).digest()[:8], "little")


def mark_stereo_from_geometry(mol: Chem.Mol) -> None:
    """Replace all R/S and E/Z marks of ``mol`` by those of its (single) conformer, in place.

    Bonds that a file marks as "either" are decided too: the geometry at hand has one of the two forms.
    """
    for bond in mol.GetBonds():
        bond.SetStereo(Chem.BondStereo.STEREONONE)
        bond.SetBondDir(Chem.BondDir.NONE)
        bond.ClearProp("_UnknownStereo")
    Chem.AssignStereochemistryFrom3D(mol, replaceExistingTags=True)


def with_positions(mol: Chem.Mol, positions: np.ndarray) -> Chem.Mol:
    """Copy of ``mol`` whose only conformer has ``positions`` ((n, 3), Å), stereo marks taken from it."""
    mol = Chem.Mol(mol)
    mol.RemoveAllConformers()
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.Set3D(True)
    conformer.SetPositions(np.ascontiguousarray(positions, dtype=np.float64))
    mol.AddConformer(conformer)
    mark_stereo_from_geometry(mol)
    return mol
