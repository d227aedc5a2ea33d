"""All metrics of a set of samples, as one row of a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import Chem

from ditkernels.models.data.records import connectivity_key
from ditkernels.models.metrics.categories import FAILED, UNKNOWN, Confusion, category
from ditkernels.models.metrics.checks import CHECKS, geometry_checks
from ditkernels.models.metrics.stability import counts_smiles, counts_stable, edm_smiles, edm_stable


@dataclass(frozen=True)
class Generated:
    """One sample as it is measured.

    elements, positions: all atoms, hydrogens included where the sample has them.
    mol:   sanitised molecule with its own bonds, None if it is none (or has no bonds of its own).
    asked: the class that was asked for, "" if none was.
    """

    elements: np.ndarray
    positions: np.ndarray
    mol: Chem.Mol | None
    asked: str = ""


def of_molecule(mol: Chem.Mol, asked: str = "") -> Generated:
    """A sanitised molecule with one conformer."""
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.int64)
    return Generated(numbers, mol.GetConformer().GetPositions(), mol, asked)


def connectivity(mol: Chem.Mol) -> str:
    """Canonical SMILES of the heavy atoms without stereo marks, by which molecules are compared."""
    return Chem.MolToSmiles(Chem.RemoveAllHs(mol), isomericSmiles=False)


def measure(name: str, samples: Sequence[Generated], lost: Sequence[str] | int = 0, training=None) -> dict:
    """Metrics of samples, shares of 1; None where there is nothing to measure.

    name: of the row.
    lost: samples that were never written because they were no molecules, as the classes that were asked of them, or
        as a number. They count as unstable, invalid and, where classes were asked for, of the wrong class; shares of
        *atoms* do not know them.
    training: sorted uint64 keys of the training molecules (:func:`connectivity_key` of :func:`connectivity`), for
        novelty; None leaves it out.

    Keys: ``samples``, ``lost``; by its own bonds: ``valid`` (sanitised and in one part), ``unique`` (different ones
    over valid ones), ``novel`` (of the different ones, not in the training set), ``checks`` (of the valid ones with
    hydrogens, pass all of :mod:`checks`) and every check; by EDM's ruler: ``edm_atoms``, ``edm_molecules``,
    ``edm_valid``, ``edm_valid_unique``; by the ruler of counts, on the heavy atoms: ``counts_atoms``,
    ``counts_molecules``, ``counts_valid``; ``class_all``, ``class_valid`` and ``confusion``.
    """
    missing = [""] * lost if isinstance(lost, int) else list(lost)
    total = len(samples) + len(missing)
    row: dict = {"name": name, "samples": total, "lost": len(missing)}
    if not total:
        return row
    row |= _own_bonds(samples, total, training)
    row |= _edm(samples, total)
    row |= _counts(samples, total)
    asked = [(s.asked, category(s.mol)) for s in samples if s.asked]
    if asked or any(missing):
        asked += [(label or UNKNOWN, FAILED) for label in missing]
        confusion = Confusion.of(asked)
        row |= {
            "class_all": confusion.accuracy(valid_only=False),
            "class_valid": confusion.accuracy(valid_only=True),
            "confusion": confusion.counts,
        }
    return row


def _own_bonds(samples: Sequence[Generated], total: int, training) -> dict:
    valid = [s.mol for s in samples if s.mol is not None and len(Chem.GetMolFrags(s.mol)) == 1]
    smiles = {connectivity(mol) for mol in valid}
    row = {"valid": len(valid) / total, "unique": len(smiles) / len(valid) if valid else None, "novel": None}
    if training is not None and smiles:
        keys = np.array([connectivity_key(text) for text in smiles], dtype=np.uint64)
        row["novel"] = float(1 - np.isin(keys, training).mean())
    with_hydrogens = [mol for mol in valid if not any(atom.GetTotalNumHs() for atom in mol.GetAtoms())]
    found = [checks for mol in with_hydrogens if (checks := geometry_checks(mol)) is not None]
    row["checks"] = float(np.mean([all(checks.values()) for checks in found])) if found else None
    return row | {check: float(np.mean([c[check] for c in found])) if found else None for check in CHECKS}


def _edm(samples: Sequence[Generated], total: int) -> dict:
    stable = [edm_stable(s.elements, s.positions) for s in samples]
    smiles = [edm_smiles(s.elements, s.positions) for s in samples]
    valid = [text for text in smiles if text is not None]
    atoms = np.concatenate(stable) if stable else np.zeros(0)
    return {
        "edm_atoms": float(atoms.mean()) if len(atoms) else None,
        "edm_molecules": sum(_all(s) for s in stable) / total,
        "edm_valid": len(valid) / total,
        "edm_valid_unique": len(set(valid)) / total,
    }


def _counts(samples: Sequence[Generated], total: int) -> dict:
    heavy = [(s.elements[s.elements != 1], s.positions[s.elements != 1]) for s in samples]
    stable = [counts_stable(*atoms) for atoms in heavy]
    known = [s for s in stable if s is not None]
    atoms = np.concatenate(known) if known else np.zeros(0)
    strings = {counts_smiles(*atoms) for atoms in heavy}
    return {
        "counts_atoms": float(atoms.mean()) if len(atoms) else None,
        "counts_molecules": sum(s is not None and _all(s) for s in stable) / total,
        "counts_valid": len(strings) / total,
    }


def _all(stable: np.ndarray) -> bool:
    """Nothing is not a molecule."""
    return len(stable) > 0 and bool(stable.all())
