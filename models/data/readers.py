"""Readers of molecules with geometries: packed npz, SDF, and a folder of SDF or of xyz files with their SMILES.

A reader has two halves. ``chunks()`` runs in the main process and only cuts the input into small picklable
pieces; ``records(chunk)`` runs in a worker process and does the expensive part (RDKit parsing, stereo
perception). The order of the chunks and of the records in a chunk is the order of the input.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rdkit import Chem

from ditkernels.models.data.match import SmilesMismatch, mol_with_xyz_positions, read_xyz
from ditkernels.models.data.records import (
    SPLIT_UNSET,
    Dropped,
    Record,
    mark_stereo_from_geometry,
    split_index,
    with_positions,
)

FORMATS = ("npz", "sdf", "folder")
CHUNK = 256


class Reader(ABC):
    """Common part: the files that identify the input, and the two halves of reading."""

    def __init__(self, path: Path):
        self.path = path

    def files(self) -> list[Path]:
        return [self.path]

    def identity(self) -> str:
        """Hash of name, size and modification time of every input file: changes when the input changes."""
        digest = hashlib.sha256(type(self).__name__.encode())
        for file in self.files():
            stat = file.stat()
            digest.update(f"{file.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
        return digest.hexdigest()

    @abstractmethod
    def chunks(self) -> Iterator[object]:
        """Pieces of the input, small and picklable."""

    @staticmethod
    @abstractmethod
    def records(chunk) -> Iterator[Record | Dropped]:
        """Molecules of one piece, or why they were dropped."""


class NpzReader(Reader):
    """Packed molecules: ``idx`` (M,), ``ptr`` (M+1,), ``pos_e4`` (T, 3) int32 in 1e-4 Å, ``smiles`` (M,) bytes.

    The atom order of molecule i is that of ``Chem.AddHs(Chem.MolFromSmiles(smiles[i]))``.
    """

    def chunks(self) -> Iterator[object]:
        try:
            with np.load(self.path, allow_pickle=False) as data:
                index, ptr, positions, smiles = (data[key] for key in ("idx", "ptr", "pos_e4", "smiles"))
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{self.path} is not a packed molecule file (idx, ptr, pos_e4, smiles): {error}"
            ) from error
        if len(ptr) != len(smiles) + 1 or ptr[-1] != len(positions):
            raise ValueError(f"{self.path}: ptr does not fit smiles ({len(smiles)}) and pos_e4 ({len(positions)})")
        for start in range(0, len(smiles), CHUNK):
            stop = min(start + CHUNK, len(smiles))
            first, last = ptr[start], ptr[stop]
            yield index[start:stop], ptr[start : stop + 1] - first, positions[first:last], smiles[start:stop]

    @staticmethod
    def records(chunk) -> Iterator[Record | Dropped]:
        index, ptr, positions_e4, smiles = chunk
        for row, text in enumerate(smiles):
            text, name = text.decode(), str(index[row])
            mol = Chem.MolFromSmiles(text)
            if mol is None:
                yield Dropped(name, "SMILES not parsable", text)
                continue
            mol = Chem.AddHs(mol)
            positions = (positions_e4[ptr[row] : ptr[row + 1]] * 1e-4).astype(np.float32)
            if len(positions) != mol.GetNumAtoms():
                yield Dropped(name, "atom count differs from SMILES", f"{len(positions)} positions for {text}")
                continue
            yield Record(with_positions(mol, positions), positions, name)


class SdfReader(Reader):
    """SDF, plain or gzip, one geometry per record; several conformers of a molecule are several records.

    The SD field ``split`` (train, val, test), where present, is kept as the split of the record.
    """

    def chunks(self) -> Iterator[object]:
        opener = gzip.open if self.path.suffix == ".gz" else open
        block: list[str] = []
        blocks: list[str] = []
        try:
            with opener(self.path, "rt", encoding="utf-8", errors="replace") as handle:
                for line in handle:
                    block.append(line)
                    if line.startswith("$$$$"):
                        blocks.append("".join(block))
                        block = []
                        if len(blocks) == CHUNK // 4:
                            yield blocks
                            blocks = []
        except (OSError, EOFError) as error:
            raise ValueError(f"{self.path} cannot be read as SDF: {error}") from error
        if any(line.strip() for line in block):
            blocks.append("".join([*block, "$$$$\n"]))
        if blocks:
            yield blocks

    @staticmethod
    def records(chunk) -> Iterator[Record | Dropped]:
        for block in chunk:
            title = block.split("\n", 1)[0].strip()
            supplier = Chem.SDMolSupplier()
            supplier.SetData(block, removeHs=False)
            mol = next(iter(supplier), None)
            if mol is None:
                yield Dropped(title, "SDF record not parsable")
            else:
                # A planar molecule in the plane z = 0 is read as a drawing although the record says 3D.
                if mol.GetNumConformers() and block.split("\n", 2)[1][20:22] == "3D":
                    mol.GetConformer().Set3D(True)
                yield record_from_mol(mol, title)


class FolderReader(Reader):
    """Folder with ``*.sdf``/``*.sdf.gz``, or with ``*.xyz`` and one CSV of columns ``name,smiles``.

    ``name`` is the stem of the xyz file. The xyz atoms are matched to the SMILES by order, or, where the order
    differs, by bonds perceived from the geometry; what does not match is reported.
    """

    def files(self) -> list[Path]:
        return sorted(p for p in self.path.iterdir() if p.name.endswith((".sdf", ".sdf.gz", ".xyz", ".csv")))

    def chunks(self) -> Iterator[object]:
        files = self.files()
        for path in files:
            if path.name.endswith((".sdf", ".sdf.gz")):
                for blocks in SdfReader(path).chunks():
                    yield ("sdf", blocks)
        geometries = [p for p in files if p.suffix == ".xyz"]
        if geometries:
            table = self._smiles_table([p for p in files if p.suffix == ".csv"])
            for start in range(0, len(geometries), CHUNK):
                part = geometries[start : start + CHUNK]
                yield ("xyz", [(p.stem, p.read_text(errors="replace"), table.get(p.stem)) for p in part])

    def _smiles_table(self, tables: list[Path]) -> dict[str, str]:
        if len(tables) != 1:
            raise ValueError(
                f"{self.path} has .xyz files and {len(tables)} CSV files; exactly one (name,smiles) is needed"
            )
        with tables[0].open(newline="") as handle:
            reader = csv.DictReader(handle)
            if not {"name", "smiles"} <= set(reader.fieldnames or ()):
                raise ValueError(f"{tables[0]} needs the columns name and smiles, found {reader.fieldnames}")
            return {row["name"]: row["smiles"] for row in reader}

    @staticmethod
    def records(chunk) -> Iterator[Record | Dropped]:
        kind, entries = chunk
        if kind == "sdf":
            yield from SdfReader.records(entries)
            return
        for name, text, smiles in entries:
            if not smiles:
                yield Dropped(name, "no SMILES in the table")
                continue
            try:
                mol = mol_with_xyz_positions(smiles, *read_xyz(text))
            except SmilesMismatch as error:
                yield Dropped(name, error.reason, str(error))
                continue
            yield Record(mol, mol.GetConformer().GetPositions().astype(np.float32), name)


def record_from_mol(mol: Chem.Mol, name: str) -> Record | Dropped:
    """Record of a molecule read with its conformer; hydrogens must already be atoms."""
    conformer = mol.GetConformer() if mol.GetNumConformers() else None
    if conformer is None or not conformer.Is3D():
        return Dropped(name, "no 3D geometry")
    if any(atom.GetTotalNumHs() for atom in mol.GetAtoms()):
        return Dropped(name, "hydrogens missing from the geometry", Chem.MolToSmiles(mol))
    mark_stereo_from_geometry(mol)
    split = split_index(mol.GetProp("split"), name) if mol.HasProp("split") else SPLIT_UNSET
    return Record(mol, conformer.GetPositions().astype(np.float32), name, split)


_READERS = {"npz": NpzReader, "sdf": SdfReader, "folder": FolderReader}


def open_reader(path: str | Path, format: str | None = None) -> Reader:
    """Reader for ``path``; the format is recognised from the name unless given (``npz``, ``sdf``, ``folder``).

    Raises ValueError for a missing path or an unknown format.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"data file {path} does not exist")
    if format is None:
        if path.is_dir():
            format = "folder"
        elif path.name.endswith((".sdf", ".sdf.gz")):
            format = "sdf"
        elif path.suffix == ".npz":
            format = "npz"
        else:
            raise ValueError(f"the format of {path} is not recognised from its name; state one of {', '.join(FORMATS)}")
    if format not in _READERS:
        raise ValueError(f"unknown data format {format!r} for {path}; choose one of {', '.join(FORMATS)}")
    return _READERS[format](path)
