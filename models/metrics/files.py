"""Generated molecules from SD files."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase

from ditkernels.models.metrics.categories import CLASSES
from ditkernels.models.metrics.evaluate import Generated
from ditkernels.models.molecule.records import Record, read_records

CLASS_FIELD = "class"


def read_generated(path: Path, broken: Callable[[str, str], None]) -> list[Generated]:
    """The records of an SD file (also .gz), hydrogens kept as they are.

    A record that cannot be read or has no 3D coordinates is left out and told to ``broken``: a sentence, and the class
    that was asked of it. One whose bonds RDKit refuses is kept, without a molecule.

    Raises ValueError if the file is no SD file or cannot be read.
    """
    found = []
    try:
        for record in read_records([str(path)]):
            if not record.is_mol_block:
                raise ValueError(f"{path} is no SD file")
            label = _label(record.content)
            sample = _generated(record, label)
            if sample is None:
                broken(
                    f"{path}: record {record.index + 1} ({record.title}) has no molecule in 3D, it is left out", label
                )
            else:
                found.append(sample)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return found


def without_hydrogens(samples: list[Generated]) -> int:
    """How many samples imply hydrogens that they have no atoms for; EDM's ruler needs them."""
    return sum(s.mol is not None and any(atom.GetTotalNumHs() for atom in s.mol.GetAtoms()) for s in samples)


def _generated(record: Record, label: str) -> Generated | None:
    """None for a record without 3D coordinates, or that is no mol block."""
    with rdBase.BlockLogs():
        mol = Chem.MolFromMolBlock(record.content, sanitize=False, removeHs=False)
    if mol is None or not mol.GetNumAtoms() or not mol.GetNumConformers():
        return None
    # A molecule in the plane z = 0 is read as a drawing although the record says 3D.
    if not mol.GetConformer().Is3D() and record.content.split("\n", 2)[1][20:22] != "3D":
        return None
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.int64)
    positions = mol.GetConformer().GetPositions()
    with rdBase.BlockLogs():
        try:
            Chem.SanitizeMol(mol)
        except Chem.MolSanitizeException:
            mol = None
    return Generated(numbers, positions, mol, label)


def _label(block: str) -> str:
    """The class that an SD record was asked for, "" without one."""
    lines = block.splitlines()
    for line, value in zip(lines, lines[1:]):
        if line.startswith(">") and f"<{CLASS_FIELD}>" in line:
            return value.strip() if value.strip() in CLASSES else ""
    return ""
