"""Small molecules with conformers, made by hand or by distance geometry with a fixed seed."""

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDistGeom


def embedded(smiles: str, count: int = 1, seed: int = 7) -> Chem.Mol:
    """Molecule with explicit hydrogens and `count` ETKDG conformers."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert len(rdDistGeom.EmbedMultipleConfs(mol, count, randomSeed=seed)) == count
    return mol


def with_conformers(mol: Chem.Mol, *positions: np.ndarray) -> Chem.Mol:
    """Copy of `mol` with exactly these conformers, each (n, 3) in Å."""
    out = Chem.Mol(mol)
    out.RemoveAllConformers()
    for rows in positions:
        conformer = Chem.Conformer(mol.GetNumAtoms())
        conformer.SetPositions(np.asarray(rows, dtype=np.float64))
        out.AddConformer(conformer, assignId=True)
    return out


def rotation(seed: int) -> np.ndarray:
    """A random proper rotation (3, 3)."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))
