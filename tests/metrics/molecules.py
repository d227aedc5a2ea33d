"""Molecules for the tests of metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rdkit import Chem

from tests.evaluation.molecules import embedded

FILES = Path(__file__).parent / "files"


def gschnet(path: Path = FILES / "gschnet_extract.npz") -> list[tuple[np.ndarray, np.ndarray]]:
    """Elements and positions in Å of molecules that G-SchNet made."""
    with np.load(path) as data:
        ptr, positions, elements = data["ptr"], data["pos_e4"] * 1e-4, data["z"].astype(np.int64)
    return [(elements[a:b], positions[a:b]) for a, b in zip(ptr[:-1], ptr[1:])]


def write_sd(path: Path, molecules: list[Chem.Mol], **fields: list[str]) -> Path:
    """An SD file of molecules with one conformer; fields: one value for each, "" for none."""
    with Chem.SDWriter(str(path)) as writer:
        for number, mol in enumerate(molecules):
            mol = Chem.Mol(mol)
            for name, values in fields.items():
                if values[number]:
                    mol.SetProp(name, values[number])
            writer.write(mol)
    return path


def smiles_molecules(*smiles: str) -> list[Chem.Mol]:
    return [embedded(text) for text in smiles]


def five_bonds() -> Chem.Mol:
    """Methane whose carbon has a fifth hydrogen: RDKit refuses it."""
    mol = Chem.RWMol(embedded("C"))
    hydrogen = mol.AddAtom(Chem.Atom(1))
    mol.AddBond(0, hydrogen, Chem.BondType.SINGLE)
    mol.GetConformer().SetAtomPosition(hydrogen, (2.0, 2.0, 2.0))
    return mol.GetMol()
