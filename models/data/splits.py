"""Which molecules are trained on and which are kept aside, decided by connectivity."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase

from ditkernels.models.data.records import SPLIT_UNSET, SPLITS, connectivity_key, connectivity_smiles

TRAIN, VALIDATION, TEST, EXCLUDED = range(len(SPLITS))


def assign(keys: np.ndarray, given: np.ndarray, validation: float, test: float) -> np.ndarray:
    """Split of each entry (M,) uint8: the one its source gives, else by its key as a uniform number in [0, 1).

    Keys below ``test`` are test, the following share ``validation`` is validation, the rest train. The keys are
    hashes of the connectivity, so all conformers and stereoisomers of a graph fall together, in every source.
    """
    if not (0 <= validation and 0 <= test and validation + test < 1):
        raise ValueError(f"shares kept aside must be at least 0 and below 1 together, got {validation} and {test}")
    uniform = keys.astype(np.float64) / 2.0**64
    by_key = np.where(uniform < test, TEST, np.where(uniform < test + validation, VALIDATION, TRAIN))
    return np.where(given == SPLIT_UNSET, by_key, given).astype(np.uint8)


def unify(keys: Sequence[np.ndarray], splits: Sequence[np.ndarray], excluded: np.ndarray) -> list[np.ndarray]:
    """Make the splits of several sources agree: a graph that is test (else validation) in one is so in all.

    Training entries whose key is in ``excluded`` become EXCLUDED.
    """
    splits = [s.copy() for s in splits]
    all_keys = np.concatenate([np.zeros(0, np.uint64), *keys])
    all_splits = np.concatenate([np.zeros(0, np.uint8), *splits])
    for split in (VALIDATION, TEST):  # the stronger one last
        aside = all_keys[all_splits == split]
        for k, s in zip(keys, splits, strict=True):
            s[np.isin(k, aside)] = split
    for k, s in zip(keys, splits, strict=True):
        s[(s == TRAIN) & np.isin(k, excluded)] = EXCLUDED
    return splits


def keys_of_smiles_file(path: str | Path) -> np.ndarray:
    """Connectivity keys of the SMILES in a file: every column of a .csv with "smiles" in its name (lists
    with corrected spellings have two), else the first word of each line.

    SMILES that RDKit cannot parse are skipped: no data entry can have their graph. Raises ValueError if none parses.
    """
    path = Path(path)
    try:
        with path.open(newline="") as handle:
            if path.suffix == ".csv":
                table = csv.DictReader(handle)
                columns = [name for name in table.fieldnames or () if "smiles" in name.lower()]
                if not columns:
                    raise ValueError(f"list of excluded molecules {path} has no column with 'smiles' in its name")
                texts = [row[column] for row in table for column in columns if row[column]]
            else:
                texts = [line.split()[0] for line in handle if line.strip()]
    except OSError as error:
        raise ValueError(f"list of excluded molecules {path} cannot be read: {error.strerror}") from error
    with rdBase.BlockLogs():
        mols = [Chem.MolFromSmiles(text) for text in texts]
    keys = [connectivity_key(connectivity_smiles(mol)) for mol in mols if mol is not None]
    if not keys:
        raise ValueError(f"list of excluded molecules {path} holds no parsable SMILES")
    return np.array(keys, dtype=np.uint64)
