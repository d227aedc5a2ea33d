"""The molecules that a training run keeps aside, as references: exactly those its configuration never trains on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rdkit import Chem

from ditkernels.models.data.cache import CachedMolecules
from ditkernels.models.data.records import Dropped, Record, with_positions
from ditkernels.models.ditmc.training import Training, open_dataset
from ditkernels.models.evaluation.references import ReferenceSet, group_records
from ditkernels.models.molecule.featurize import BOND_TYPES
from ditkernels.models.training.config import load_config


def kept_aside(
    config_path: str | Path,
    split: str,
    source: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    overrides: tuple[str, ...] = (),
) -> tuple[list[ReferenceSet], list[str]]:
    """References from the data sources of a training configuration.

    Args:
        config_path: YAML file of `ditkernels train`.
        split: ``"test"``, or ``"validation"``, which a training run has seen the loss of.
        source: only this source (file name up to its first dot); None takes all.
        limit: at most this many geometries, drawn at random by `seed`.
        seed: of that draw.
        overrides: changes of the configuration, ``key=value``.

    Raises:
        ValueError: an unknown source, or nothing kept aside.
    """
    config = load_config(config_path, overrides)
    if not isinstance(config, Training):
        raise ValueError(f"{config_path} does not train a conformer model, so it keeps no conformers aside")
    dataset = open_dataset(config)
    names = [entry.name for entry in dataset.sources]
    if source is not None and source not in names:
        raise ValueError(f"{config_path} has no source {source!r}, only {', '.join(names)}")
    entries = dataset.entries(split, None if source is None else names.index(source))
    if limit is not None and limit < len(entries):
        entries = np.sort(np.random.default_rng(seed).choice(entries, size=limit, replace=False))
    records = [record_of(*dataset.locate(int(entry))) for entry in entries]
    return group_records(records, None, f"{config_path} ({split})")


def record_of(cache: CachedMolecules, entry: int) -> Record | Dropped:
    """Molecule and geometry of a cache entry.

    The cache keeps the graph of an entry and its canonical SMILES, not the atom order of the latter, so the atoms of
    the SMILES are matched to the graph by element and bond type.
    """
    mol = Chem.AddHs(Chem.MolFromSmiles(cache.smiles_of(entry)))
    rows = slice(cache.atom_ptr[entry], cache.atom_ptr[entry + 1])
    bonds = slice(cache.bond_ptr[entry], cache.bond_ptr[entry + 1])
    graph = Chem.RWMol()
    for number in cache.atomic_numbers[rows].tolist():
        graph.AddAtom(Chem.Atom(number))
    for (first, second), kind in zip(cache.bonds[bonds].tolist(), cache.bond_types[bonds].tolist()):
        graph.AddBond(first, second, BOND_TYPES[kind])
    match = mol.GetSubstructMatch(graph)  # match[i]: atom of mol for atom i of the entry
    if len(match) != mol.GetNumAtoms():
        return Dropped(cache.name(entry), "the cached graph does not match its SMILES", cache.smiles_of(entry))
    positions = np.empty((mol.GetNumAtoms(), 3), dtype=np.float64)
    positions[list(match)] = cache.positions[rows]
    return Record(with_positions(mol, positions), positions.astype(np.float32), cache.name(entry))
