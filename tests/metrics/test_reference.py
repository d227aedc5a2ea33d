"""Reference files: the shipped one, and new ones."""

from __future__ import annotations

import numpy as np
import pytest

from ditkernels.models.data.records import connectivity_key
from ditkernels.models.metrics.evaluate import measure, of_molecule
from ditkernels.models.metrics.reference import FOLDER, load_reference, write_reference
from tests.metrics.molecules import smiles_molecules


def test_the_shipped_reference_of_qm9():
    known = load_reference("qm9")
    assert 99_000 < len(known.keys) <= 100_000 and known.keys.dtype == np.uint64
    assert (np.diff(known.keys.astype(object)) > 0).all()
    # Molecules of the training part, of the other parts of the split, and of no part.
    assert all(connectivity_key(smiles) in known.keys for smiles in ("C", "COC", "CC(N)=O", "CC#N"))
    assert not any(connectivity_key(smiles) in known.keys for smiles in ("CCO", "CC(C)C", "CCCCCCCCCCCC"))
    data, null = known.rows
    assert data["name"] == "training data" and null["name"].startswith("null")
    assert data["samples"] == null["samples"] == 10_000
    # What QM9 scores by EDM's ruler in published tables: 99.0, 95.2, 97.7 (fluorine included).
    assert [100 * data[k] for k in ("edm_atoms", "edm_molecules", "edm_valid")] == pytest.approx(
        [99, 95.2, 97.7], abs=1.2
    )
    assert null["edm_molecules"] == null["valid"] == 0.0 and null["counts_molecules"] > 0.9
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_200_000


def test_a_reference_of_a_file(tmp_path):
    molecules = smiles_molecules("CCO", "CC", "C1CC1", "CCO")
    path = tmp_path / "few.npz"
    written = write_reference(path, molecules, molecules)
    assert path.exists()
    known = load_reference(str(path))
    assert known.keys.tolist() == written.keys.tolist() == sorted(connectivity_key(s) for s in ("CCO", "CC", "C1CC1"))
    data, null = known.rows
    assert data["samples"] == null["samples"] == 4 and data["valid"] == 1.0
    row = measure("", [of_molecule(mol) for mol in smiles_molecules("CCO", "CN")], training=known.keys)
    assert row["novel"] == 0.5


def test_noise_has_the_sizes_and_elements_of_the_data(tmp_path):
    molecules = smiles_molecules("O", "O")
    _, null = write_reference(tmp_path / "water.npz", molecules, molecules).rows
    assert null["counts_atoms"] == null["counts_molecules"] == 1.0 and null["edm_atoms"] == 0.0


@pytest.mark.parametrize("content", [None, b"", b"no archive"])
def test_what_is_no_reference(content, tmp_path):
    path = tmp_path / "x.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is neither a shipped reference \(qm9\) nor a file of one"):
        load_reference(str(path))
