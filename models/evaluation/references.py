"""Reference conformers to evaluate against: one molecule object per stereoisomer, holding all its references."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rdkit import Chem

from ditkernels.models.data.readers import open_reader
from ditkernels.models.data.records import SPLIT_UNSET, Dropped, Record, split_index
from ditkernels.models.evaluation.rmsd import distinct_conformers


@dataclass(frozen=True)
class ReferenceSet:
    """A molecule with its K reference conformers (hydrogens explicit, stereochemistry assigned from them)."""

    name: str
    smiles: str
    mol: Chem.Mol

    @property
    def count(self) -> int:
        return self.mol.GetNumConformers()


def read_references(path: str | Path, split: str | None = None) -> tuple[list[ReferenceSet], list[str]]:
    """References from a data file (see `ditkernels.models.data.readers` for the formats), one geometry per record.

    Args:
        path: ``.sdf``, ``.sdf.gz``, ``.npz`` or a folder.
        split: keep the records that the file itself puts into this split (train, validation, test); None keeps all.

    Returns:
        The sets in the order of their first record, and one sentence for every record left out as unusable.

    Raises:
        ValueError: if no record is left.
    """
    reader = open_reader(path)
    records = (record for chunk in reader.chunks() for record in reader.records(chunk))
    wanted = None if split is None else split_index(split, f"split of {path}")
    return group_records(records, wanted, str(path))


def group_records(
    records: Iterable[Record | Dropped], split: int | None, source: str
) -> tuple[list[ReferenceSet], list[str]]:
    """Collect records of the same stereoisomer, as perceived from the coordinates, into one set each.

    The atom order of a set is that of its first record. `split` is an index of `ditkernels.models.data.records.SPLITS`
    or None; `source` names the data in the error for an empty result.
    """
    groups: dict[str, ReferenceSet] = {}
    rejected: list[str] = []
    for record in records:
        if isinstance(record, Dropped):
            rejected.append(f"{record.name}: {record.reason}")
            continue
        if split is not None and record.split != split:
            if record.split == SPLIT_UNSET:
                raise ValueError(f"{source}: {record.name} has no split of its own, so none can be asked for")
            continue
        smiles = Chem.MolToSmiles(Chem.RemoveHs(record.mol))
        if smiles in groups:
            _append_conformer(groups[smiles].mol, record.mol)
        else:
            groups[smiles] = ReferenceSet(record.name, smiles, record.mol)
    if not groups:
        raise ValueError(f"{source} holds no usable reference" + ("" if split is None else " in the split asked for"))
    return list(groups.values()), rejected


def _append_conformer(target: Chem.Mol, mol: Chem.Mol) -> None:
    conformer = Chem.Conformer(target.GetNumAtoms())
    conformer.SetPositions(mol.GetConformer().GetPositions()[_atom_order(target, mol)])
    target.AddConformer(conformer, assignId=True)


def _atom_order(target: Chem.Mol, mol: Chem.Mol) -> list[int]:
    """Atom of `mol` for every atom of `target`: the identity where it fits, else a match that respects chirality."""
    same_elements = all(a.GetAtomicNum() == b.GetAtomicNum() for a, b in zip(target.GetAtoms(), mol.GetAtoms()))
    if same_elements and all(
        mol.GetBondBetweenAtoms(b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in target.GetBonds()
    ):
        return list(range(target.GetNumAtoms()))
    return list(mol.GetSubstructMatch(target, useChirality=True))


def deduplicate(reference: ReferenceSet, threshold: float) -> ReferenceSet:
    """The same set without conformers closer than `threshold` Å (heavy-atom RMSD) to one listed before."""
    keep = set(distinct_conformers(reference.mol, threshold))
    mol = Chem.Mol(reference.mol)
    for identifier in [conformer.GetId() for conformer in mol.GetConformers()]:
        if identifier not in keep:
            mol.RemoveConformer(identifier)
    return ReferenceSet(reference.name, reference.smiles, mol)


def choose(references: Iterable[ReferenceSet], limit: int | None, seed: int) -> list[ReferenceSet]:
    """At most `limit` sets, drawn at random by `seed` and kept in their order; all of them if `limit` is None."""
    references = list(references)
    if limit is None or limit >= len(references):
        return references
    picked = np.random.default_rng(seed).choice(len(references), size=limit, replace=False)
    return [references[i] for i in sorted(picked)]
