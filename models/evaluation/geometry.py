"""Local geometry: how far bond lengths and bond angles of generated conformers are from the references'.

Bond lengths and angles hardly depend on the conformation, so each bond (angle) of a sample is compared with the mean of
the same bond (angle) over the references of the molecule; with one reference this is the plain per-bond comparison.

    error = mean over samples l and bonds b of | d_l,b - mean_k d_k,b |
"""

from __future__ import annotations

import numpy as np
from rdkit import Chem


def bonds_and_angles(mol: Chem.Mol, heavy_only: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Atom indices of all bonds, int (m, 2), and of all bond angles, int (a, 3) with the vertex in the middle."""

    def wanted(atom: Chem.Atom) -> bool:
        return not heavy_only or atom.GetAtomicNum() > 1

    bonds = [
        (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
        for bond in mol.GetBonds()
        if wanted(bond.GetBeginAtom()) and wanted(bond.GetEndAtom())
    ]
    angles = []
    for atom in mol.GetAtoms():
        if wanted(atom):
            around = sorted(other.GetIdx() for other in atom.GetNeighbors() if wanted(other))
            angles += [(a, atom.GetIdx(), b) for position, a in enumerate(around) for b in around[position + 1 :]]
    return np.array(bonds, dtype=np.int64).reshape(-1, 2), np.array(angles, dtype=np.int64).reshape(-1, 3)


def bond_lengths(positions: np.ndarray, bonds: np.ndarray) -> np.ndarray:
    """Lengths in Å, shape (conformers, bonds), of positions (conformers, atoms, 3)."""
    return np.linalg.norm(positions[:, bonds[:, 0]] - positions[:, bonds[:, 1]], axis=-1)


def bond_angles(positions: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Angles in degrees in [0, 180], shape (conformers, angles), of positions (conformers, atoms, 3)."""
    first = positions[:, angles[:, 0]] - positions[:, angles[:, 1]]
    second = positions[:, angles[:, 2]] - positions[:, angles[:, 1]]
    # atan2 keeps full precision near 0 and 180 degrees, where the arc cosine loses half of it.
    sine = np.linalg.norm(np.cross(first, second), axis=-1)
    return np.degrees(np.arctan2(sine, (first * second).sum(axis=-1)))


def conformer_positions(mol: Chem.Mol) -> np.ndarray:
    """Positions of all conformers, float64 (conformers, atoms, 3), Å."""
    if mol.GetNumConformers() == 0:
        return np.empty((0, mol.GetNumAtoms(), 3))
    return np.stack([conformer.GetPositions() for conformer in mol.GetConformers()])


def geometry_errors(references: Chem.Mol, generated: Chem.Mol, heavy_only: bool = False) -> tuple[float, float]:
    """Mean absolute deviations of bond lengths (Å) and bond angles (degrees); NaN where there is none to compare.

    Both molecules must hold the same atoms in the same order.

    Raises:
        ValueError: if the atoms differ.
    """
    if [a.GetAtomicNum() for a in references.GetAtoms()] != [a.GetAtomicNum() for a in generated.GetAtoms()]:
        raise ValueError("references and generated conformers must list the same atoms in the same order")
    bonds, angles = bonds_and_angles(references, heavy_only)
    reference, sample = conformer_positions(references), conformer_positions(generated)
    errors = []
    for measure, indices in ((bond_lengths, bonds), (bond_angles, angles)):
        if len(indices) == 0 or len(sample) == 0:
            errors.append(float("nan"))
        else:
            expected = measure(reference, indices).mean(axis=0)
            errors.append(float(np.abs(measure(sample, indices) - expected).mean()))
    return errors[0], errors[1]
