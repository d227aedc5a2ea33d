"""A few real molecules with conformers: a fixed set, or those of a file."""

from __future__ import annotations

from pathlib import Path

from rdkit import Chem

from ditkernels.models.evaluation.baseline import etkdg_conformers
from ditkernels.models.molecule.featurize import UnsupportedMolecule
from ditkernels.models.molecule.records import Record, molecule_of, read_records

EXAMPLES = {
    "water": "O",
    "acetylene": "C#C",
    "glycine zwitterion": "[NH3+]CC(=O)[O-]",
    "benzene": "c1ccccc1",
    "L-alanine": "C[C@H](N)C(=O)O",
    "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "beta-D-glucose": "OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O",
    "(S)-ibuprofen": "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O",
    "morphine": "CN1CC[C@]23[C@@H]4Oc5c3c(C[C@@H]1[C@@H]2C=C[C@@H]4O)ccc5O",
    "cholesterol": "CC(C)CCC[C@@H](C)[C@H]1CC[C@H]2[C@@H]3CC=C4C[C@@H](O)CC[C@]4(C)[C@H]3CC[C@]12C",
}
"""Name -> SMILES. 3 to 74 atoms of H, C, N, O: linear, flat, charged and chiral ones."""


def example_molecules(seed: int = 0) -> list[Chem.Mol]:
    """The molecules of :data:`EXAMPLES`, each with explicit hydrogens, a name and one conformer."""
    records = (Record(index, name, name, smiles) for index, (name, smiles) in enumerate(EXAMPLES.items()))
    return [_with_conformer(record, seed) for record in records]


def molecules_of_file(path: Path, seed: int = 0) -> list[Chem.Mol]:
    """All molecules of an SD, SMILES or CSV file, with explicit hydrogens, a name and one conformer.

    A conformer of an SD file is kept; where there is none it is made by ETKDGv3 from ``seed``.

    Raises:
        ValueError: the file has an unknown type or no molecules, or a record is no molecule or cannot be embedded.
        OSError: the file cannot be read.
    """
    molecules = []
    for record in read_records([str(path)]):
        try:
            molecules.append(_with_conformer(record, seed))
        except UnsupportedMolecule as problem:
            raise ValueError(f"{path}:{record.location}: {problem}") from problem
    if not molecules:
        raise ValueError(f"{path} holds no molecules")
    return molecules


def _with_conformer(record: Record, seed: int) -> Chem.Mol:
    mol = molecule_of(record)
    if mol.GetNumAtoms() and not (mol.GetNumConformers() and mol.GetConformer().Is3D()):
        mol = etkdg_conformers(mol, 1, seed)
        if not mol.GetNumConformers():
            raise UnsupportedMolecule("ETKDGv3 finds no conformer of this molecule")
    mol.SetProp("_Name", record.title)
    return mol
