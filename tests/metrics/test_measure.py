"""The row of a set of samples: what each share is a share of."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from ditkernels.models.data.records import connectivity_key
from ditkernels.models.metrics.evaluate import Generated, connectivity, measure, of_molecule
from tests.evaluation.molecules import embedded
from tests.metrics.molecules import smiles_molecules


def samples(*smiles: str, asked: str = "") -> list[Generated]:
    return [of_molecule(mol, asked) for mol in smiles_molecules(*smiles)]


def keys(*smiles: str) -> np.ndarray:
    return np.sort(np.array([connectivity_key(Chem.CanonSmiles(text)) for text in smiles], dtype=np.uint64))


def test_valid_unique_and_novel_by_own_bonds():
    row = measure("four", samples("CCO", "CCO", "CC", "CN"), training=keys("CCO", "CCCC"))
    assert (row["name"], row["samples"], row["lost"]) == ("four", 4, 0)
    assert row["valid"] == 1.0
    assert row["unique"] == 3 / 4
    assert row["novel"] == pytest.approx(2 / 3)
    assert measure("", samples("CCO"))["novel"] is None


def test_stereoisomers_are_one_molecule():
    row = measure("", samples("C[C@H](F)Cl", "C[C@@H](F)Cl"), training=keys("CC(F)Cl"))
    assert row["unique"] == 0.5 and row["novel"] == 0.0


def test_lost_samples_lower_every_share_of_samples():
    alone, with_lost = measure("", samples("CCO", "CC")), measure("", samples("CCO", "CC"), lost=2)
    assert with_lost["samples"] == 4 and with_lost["lost"] == 2
    for key in ("valid", "edm_molecules", "edm_valid", "edm_valid_unique", "counts_molecules", "counts_valid"):
        assert with_lost[key] == alone[key] / 2 > 0, key
    for key in ("unique", "edm_atoms", "counts_atoms", "checks"):
        assert with_lost[key] == alone[key], key


def test_a_sample_without_a_molecule_is_not_valid():
    mol = embedded("CC")
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    row = measure("", [Generated(numbers, mol.GetConformer().GetPositions(), None)])
    assert row["valid"] == 0.0 and row["unique"] is None and row["checks"] is None
    assert row["edm_molecules"] == row["edm_valid"] == 1.0


def test_a_molecule_in_two_parts_is_not_valid_and_has_no_class():
    row = measure("", samples("CC.OO", "CC", asked="acyclic"))
    assert row["valid"] == 0.5 and row["class_all"] == 0.5 and row["class_valid"] == 1.0


def test_nothing_is_not_a_stable_molecule():
    row = measure("", [Generated(np.zeros(0, int), np.zeros((0, 3)), None)])
    assert row["edm_molecules"] == row["counts_molecules"] == row["edm_valid"] == 0.0
    assert row["edm_atoms"] is None


def test_all_samples_lost():
    row = measure("", [], lost=["cyclic", "cyclic"], training=keys("C"))
    assert row["valid"] == row["edm_molecules"] == row["class_all"] == 0.0
    assert row["unique"] is row["novel"] is row["class_valid"] is None
    assert measure("empty", []) == {"name": "empty", "samples": 0, "lost": 0}


def test_geometry_checks_need_hydrogens():
    heavy = [of_molecule(Chem.RemoveHs(mol)) for mol in smiles_molecules("CCO", "CC")]
    row = measure("", heavy)
    assert row["valid"] == 1.0 and row["checks"] is None and row["no clash"] is None
    mixed = measure("", [*heavy, *samples("CCO")])
    assert mixed["checks"] == mixed["no clash"] == 1.0


def test_classes_of_samples_and_of_lost_ones():
    given = samples("CC", "C1CC1", asked="acyclic") + samples("c1ccccc1", asked="cyclic")
    row = measure("", given, lost=["cyclic", "acyclic", "acyclic"])
    assert row["confusion"] == {
        "acyclic": {"acyclic": 1, "cyclic": 1, "failed": 2},
        "cyclic": {"acyclic": 0, "cyclic": 1, "failed": 1},
    }
    assert row["class_all"] == 2 / 6 and row["class_valid"] == 2 / 3


def test_lost_samples_of_unknown_class_are_wrong_all_the_same():
    row = measure("", samples("CC", asked="acyclic"), lost=3)
    assert row["class_all"] == 1 / 4 and row["class_valid"] == 1.0
    assert row["confusion"]["unknown"] == {"acyclic": 0, "cyclic": 0, "failed": 3}


def test_no_classes_where_none_was_asked():
    row = measure("", samples("CC"), lost=2)
    assert not {"class_all", "class_valid", "confusion"} & set(row)


def test_connectivity_forgets_hydrogens_stereo_and_isotopes():
    texts = ("C[C@H](F)Cl", "C[C@@H](F)Cl", "[2H]C(F)(C)Cl", "CC(F)Cl")
    assert len({connectivity(Chem.AddHs(Chem.MolFromSmiles(text))) for text in texts}) == 1
