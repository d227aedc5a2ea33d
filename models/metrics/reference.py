"""What generated molecules are compared with: the training molecules, and noise of their sizes and elements.

The file ``reference/<name>.npz`` ships with the package:

    steps     (K,) uint64, whose sums are the sorted hashes of the training molecules' connectivity, for novelty
    rows      JSON: the row of the training data and the null row
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rdkit import Chem

from ditkernels.models.data.records import connectivity_key
from ditkernels.models.metrics.evaluate import Generated, connectivity, measure, of_molecule
from ditkernels.models.metrics.null import noise_molecules

FOLDER = Path(__file__).parent / "reference"


@dataclass(frozen=True)
class Reference:
    """keys: of the training molecules. rows: the training data's row and the null row, ready for a table."""

    keys: np.ndarray
    rows: list[dict]


def load_reference(name: str) -> Reference:
    """The shipped reference of a data set, or one from a file. Raises ValueError if there is none."""
    shipped = FOLDER / f"{name}.npz"
    path = shipped if shipped.exists() else Path(name)
    try:
        with np.load(path, allow_pickle=False) as file:
            return Reference(np.cumsum(file["steps"], dtype=np.uint64), json.loads(str(file["rows"])))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.npz")))
        raise ValueError(f"{name!r} is neither a shipped reference ({known}) nor a file of one ({error})") from error


def write_reference(path: Path, training: Iterable[Chem.Mol], measured: Sequence[Chem.Mol], seed: int = 0) -> Reference:
    """Reference of a data set.

    training: all training molecules, of which the keys are taken.
    measured: those, with hydrogens and geometry, that the row of the training data is computed of. As many noise
    molecules, with the sizes and elements of their heavy atoms, make the null row.
    """
    keys = np.unique(np.array([connectivity_key(connectivity(mol)) for mol in training], dtype=np.uint64))
    data = [of_molecule(mol) for mol in measured]
    heavy = [sample.elements[sample.elements > 1] for sample in data]
    sizes = np.array([len(numbers) for numbers in heavy])
    noise = noise_molecules(len(data), sizes, np.concatenate(heavy), seed)
    rows = [
        measure("training data", data, training=None),
        measure("null: Gaussian noise", [Generated(elements, positions, None) for elements, positions in noise]),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    # Steps between sorted hashes have fewer significant bits than the hashes, so that they compress.
    np.savez_compressed(path, steps=np.diff(keys, prepend=np.uint64(0)), rows=np.array(json.dumps(rows)))
    return load_reference(str(path))
