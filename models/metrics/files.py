"""Generated molecules from SD files."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase

from ditkernels.models.metrics.categories import CLASSES
from ditkernels.models.metrics.evaluate import Generated

CLASS_FIELD = "class"


def read_generated(path: Path, broken: Callable[[str], None]) -> list[Generated]:
    """The records of an SD file (also .gz), hydrogens kept as they are; a record without 3D coordinates or that cannot
    be read is told to ``broken`` in one sentence and left out. One whose bonds RDKit refuses is kept, without a
    molecule.

    Raises ValueError if the file cannot be read or holds no record.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            blocks = stream.read().decode("utf-8", errors="replace").split("$$$$\n")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    found = []
    blocks = [block for block in blocks if block.strip()]
    for number, block in enumerate(blocks, start=1):
        with rdBase.BlockLogs():
            mol = Chem.MolFromMolBlock(block, sanitize=False, removeHs=False)
        if mol is None or not mol.GetNumConformers() or not mol.GetNumAtoms():
            broken(f"{path}: record {number} cannot be read and is left out")
            continue
        found.append(_generated(mol, _field(block, CLASS_FIELD)))
    if not found:
        raise ValueError(f"{path} holds no molecule that can be read")
    return found


def without_hydrogens(samples: list[Generated]) -> int:
    """How many samples imply hydrogens that they have no atoms for; EDM's ruler needs them."""
    return sum(s.mol is not None and any(atom.GetTotalNumHs() for atom in s.mol.GetAtoms()) for s in samples)


def _generated(mol: Chem.Mol, label: str) -> Generated:
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.int64)
    positions = mol.GetConformer().GetPositions()
    with rdBase.BlockLogs():
        try:
            Chem.SanitizeMol(mol)
        except Chem.MolSanitizeException:
            mol = None
    return Generated(numbers, positions, mol, label if label in CLASSES else "")


def _field(block: str, name: str) -> str:
    """Value of an SD field, "" without it."""
    lines = block.splitlines()
    for place, line in enumerate(lines[:-1]):
        if line.startswith(">") and f"<{name}>" in line:
            return lines[place + 1].strip()
    return ""
