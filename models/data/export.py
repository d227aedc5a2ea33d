"""Kept-aside molecules as an SDF file, to evaluate a trained network on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rdkit import Chem

from ditkernels.models.data.cache import CachedMolecules
from ditkernels.models.data.dataset import MoleculeDataset
from ditkernels.models.data.records import with_positions
from ditkernels.models.molecule.featurize import BOND_TYPES, column_groups

_NEUTRAL = 5
"""Column of charge 0 in the group of formal charges, which starts at -5."""


def molecule_of(cache: CachedMolecules, entry: int) -> Chem.Mol:
    """Molecule of an entry with hydrogens, geometry and stereo marks, rebuilt from the arrays.

    Raises ValueError if the attributes do not give back the stored SMILES (a charge beyond the one-hot range).
    """
    atoms = slice(cache.atom_ptr[entry], cache.atom_ptr[entry + 1])
    bonds = slice(cache.bond_ptr[entry], cache.bond_ptr[entry + 1])
    features = np.unpackbits(cache.atom_features[atoms], axis=1, count=cache.num_features)
    groups = column_groups(cache.layout)
    charges = features[:, groups["formal_charge"]].argmax(axis=1) - _NEUTRAL
    radicals = features[:, groups["radical_electrons"]].argmax(axis=1)
    mol = Chem.RWMol()
    for number, charge, radical in zip(cache.atomic_numbers[atoms].tolist(), charges.tolist(), radicals.tolist()):
        atom = Chem.Atom(number)
        atom.SetFormalCharge(charge)
        atom.SetNumRadicalElectrons(radical)
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
    for (begin, end), column in zip(cache.bonds[bonds].tolist(), cache.bond_types[bonds].tolist()):
        mol.AddBond(begin, end, BOND_TYPES[column])
        if BOND_TYPES[column] == Chem.BondType.AROMATIC:
            for index in (begin, end):
                mol.GetAtomWithIdx(index).SetIsAromatic(True)
    Chem.SanitizeMol(mol)
    result = with_positions(mol.GetMol(), cache.positions[atoms])
    found = Chem.MolToSmiles(Chem.RemoveHs(result))
    if found != cache.smiles_of(entry):
        raise ValueError(f"entry {cache.name(entry)}: stored as {cache.smiles_of(entry)}, rebuilt as {found}")
    result.SetProp("_Name", cache.name(entry))
    return result


def write_split(
    dataset: MoleculeDataset, split: str, source: int, path: str | Path, limit: int | None = None, seed: int = 0
) -> int:
    """Write the entries of one source in ``split`` to an SDF file with the fields ``split`` and ``smiles``.

    ``limit`` keeps a random part (fixed by ``seed``), in the order of the source. Returns how many were written.
    """
    entries = dataset.entries(split, source)
    if limit is not None and limit < len(entries):
        entries = np.sort(np.random.default_rng(seed).permutation(entries)[:limit])
    with Chem.SDWriter(str(path)) as writer:
        for entry in entries.tolist():
            cache, index = dataset.locate(entry)
            mol = molecule_of(cache, index)
            mol.SetProp("split", split)
            mol.SetProp("smiles", cache.smiles_of(index))
            writer.write(mol)
    return len(entries)
