"""Molecules without their hydrogens as flat arrays, from any reader of geometries: what D3MES is trained on."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase

from ditkernels.models.data.preprocess import default_cache_root, ordered_map
from ditkernels.models.data.readers import Reader
from ditkernels.models.data.records import Dropped, Record

FORMAT_VERSION = 1


@dataclass(frozen=True)
class HeavyMolecules:
    """M molecules, T heavy atoms, E bonds; molecule m owns the rows ``ptr[m]:ptr[m+1]``.

    positions:          (T, 3) float32, Å, as in the source.
    atomic_numbers:     (T,) uint8. Atoms are in the order of the canonical SMILES, so that neighbours are near.
    bonds:              (E, 3) int16: atoms a < b of the molecule, Kekulé order 1 to 3; sorted.
    atom_ptr, bond_ptr: (M+1,) int64.
    cyclic:             (M,) bool, whether the graph has a ring.
    row:                (M,) int64, number of the record in the source.
    dropped:            JSON text: why records are missing, and how many; entries: records of the source.
    """

    positions: np.ndarray
    atomic_numbers: np.ndarray
    bonds: np.ndarray
    atom_ptr: np.ndarray
    bond_ptr: np.ndarray
    cyclic: np.ndarray
    row: np.ndarray
    dropped: np.ndarray
    entries: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    @property
    def atom_counts(self) -> np.ndarray:
        return np.diff(self.atom_ptr)

    @property
    def reasons(self) -> dict[str, int]:
        """How many records were left out, by reason."""
        return json.loads(str(self.dropped))


def heavy_molecules(
    reader: Reader,
    cache: str | Path | None = None,
    workers: int | None = None,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> HeavyMolecules:
    """The heavy atoms of every molecule of ``reader``, read now unless the cache has them.

    Molecules that the representation cannot hold are left out and counted: formal charges and radicals (hydrogens are
    put back by valence alone), several fragments, and those without a heavy atom.
    """
    root = Path(cache) if cache is not None else default_cache_root()
    key = hashlib.sha256(f"{reader.identity()}\0heavy\0{FORMAT_VERSION}".encode()).hexdigest()[:16]
    path = root / f"{reader.path.name.split('.')[0]}-heavy-{key}.npz"
    if not path.exists():
        root.mkdir(parents=True, exist_ok=True)
        blocks = ordered_map(_process, ((type(reader), chunk) for chunk in reader.chunks()), workers or os.cpu_count())
        arrays = _joined(progress(blocks) if progress else blocks)
        partial = path.with_name(f".{path.name}.{os.getpid()}.npz")
        try:
            np.savez(partial, **arrays)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    try:
        with np.load(path, allow_pickle=False) as file:
            return HeavyMolecules(**{field.name: file[field.name] for field in fields(HeavyMolecules)})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"preprocessing cache {path} is damaged ({error}); delete it to build it again") from error


def heavy_record(mol: Chem.Mol, positions: np.ndarray) -> dict[str, np.ndarray] | str:
    """Arrays of one molecule (hydrogens as atoms of ``mol`` or implied), or the reason why it has none."""
    if len(Chem.GetMolFrags(mol)) != 1:
        return "several fragments"
    keep = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1]
    if not keep:
        return "no heavy atom"
    if any(atom.GetFormalCharge() for atom in mol.GetAtoms()):
        return "formal charges"
    if any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
        return "radical"
    heavy = Chem.RemoveAllHs(mol)
    Chem.Kekulize(heavy, clearAromaticFlags=True)
    canonical = Chem.RemoveAllHs(mol)
    Chem.MolToSmiles(canonical, isomericSmiles=False)
    order = list(canonical.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
    place = {atom: number for number, atom in enumerate(order)}
    bonds = sorted(
        (*sorted((place[bond.GetBeginAtomIdx()], place[bond.GetEndAtomIdx()])), int(bond.GetBondTypeAsDouble()))
        for bond in heavy.GetBonds()
    )
    return {
        "positions": np.asarray(positions, dtype=np.float32)[keep][order],
        "atomic_numbers": np.array([heavy.GetAtomWithIdx(a).GetAtomicNum() for a in order], dtype=np.uint8),
        "bonds": np.array(bonds, dtype=np.int16).reshape(-1, 3),
        "cyclic": np.array([len(bonds) >= len(order)]),
    }


def _process(task) -> list[tuple[dict[str, np.ndarray] | None, str]]:
    """Worker: one chunk of a reader; (arrays, "") or (None, reason) for every record."""
    reader_type, chunk = task
    results = []
    with rdBase.BlockLogs():
        for record in reader_type.records(chunk):
            found = heavy_record(record.mol, record.positions) if isinstance(record, Record) else record
            reason = found.reason if isinstance(found, Dropped) else found if isinstance(found, str) else ""
            results.append((None, reason) if reason else (found, ""))
    return results


def _joined(blocks: Iterable[list]) -> dict[str, np.ndarray]:
    rows, kept, reasons, entries = [], [], Counter(), 0
    for block in blocks:
        for found, reason in block:
            if found is None:
                reasons[reason] += 1
            else:
                rows.append(entries)
                kept.append(found)
            entries += 1
    empty = {"positions": np.zeros((0, 3), np.float32), "atomic_numbers": np.zeros(0, np.uint8)}
    empty |= {"bonds": np.zeros((0, 3), np.int16), "cyclic": np.zeros(0, bool)}
    arrays = {name: np.concatenate([none, *(k[name] for k in kept)]) for name, none in empty.items()}
    for name, column in (("atom_ptr", "atomic_numbers"), ("bond_ptr", "bonds")):
        arrays[name] = np.concatenate([[0], np.cumsum([len(k[column]) for k in kept], dtype=np.int64)]).astype(np.int64)
    return {
        **arrays,
        "row": np.array(rows, dtype=np.int64),
        "dropped": np.array(json.dumps(dict(reasons.most_common()))),
        "entries": np.array(entries),
    }
