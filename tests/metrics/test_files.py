"""Reading SD files of generated molecules: every record is measured, or named and counted as failed."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDepictor

from ditkernels.models.metrics.files import read_generated, without_hydrogens
from tests.evaluation.molecules import embedded
from tests.metrics.molecules import five_bonds, smiles_molecules, write_sd


def read(path):
    broken = []
    return read_generated(path, lambda *found: broken.append(found)), broken


def test_molecules_with_hydrogens_positions_and_class(tmp_path):
    molecules = smiles_molecules("CCO", "C1CC1")
    path = write_sd(tmp_path / "a.sdf", molecules, **{"class": ["acyclic", ""]})
    found, broken = read(path)
    assert broken == [] and [sample.asked for sample in found] == ["acyclic", ""]
    for mol, sample in zip(molecules, found, strict=True):
        assert sample.elements.tolist() == [atom.GetAtomicNum() for atom in mol.GetAtoms()]
        assert np.allclose(sample.positions, mol.GetConformer().GetPositions(), atol=1e-4)
        assert Chem.MolToSmiles(sample.mol) == Chem.MolToSmiles(mol)


def test_line_ends_of_other_systems_and_compression(tmp_path):
    path = write_sd(tmp_path / "a.sdf", smiles_molecules("CCO", "CC"), **{"class": ["acyclic", "cyclic"]})
    text = path.read_bytes()
    (tmp_path / "b.sdf").write_bytes(text.replace(b"\n", b"\r\n"))
    (tmp_path / "c.sdf.gz").write_bytes(gzip.compress(text))
    for name in ("b.sdf", "c.sdf.gz"):
        found, broken = read(tmp_path / name)
        assert broken == [] and [sample.asked for sample in found] == ["acyclic", "cyclic"], name
        assert [len(sample.elements) for sample in found] == [9, 8]


def test_a_classes_name_is_one_of_the_known(tmp_path):
    path = write_sd(tmp_path / "a.sdf", smiles_molecules("CC"), **{"class": ["toxic"]})
    assert read(path)[0][0].asked == ""


def test_bonds_that_rdkit_refuses_leave_the_atoms(tmp_path):
    (sample,), broken = read(write_sd(tmp_path / "a.sdf", [five_bonds()]))
    assert broken == [] and sample.mol is None and sample.elements.tolist() == [6, 1, 1, 1, 1, 1]


def test_unreadable_records_are_named(tmp_path):
    path = write_sd(tmp_path / "a.sdf", smiles_molecules("CC", "CO", "CN"), **{"class": ["", "cyclic", ""]})
    blocks = path.read_text().split("$$$$\n")
    lines = blocks[1].split("\n")
    lines[0], lines[3] = "second", "not a counts line"
    blocks[1] = "\n".join(lines)
    path.write_text("$$$$\n".join(blocks))
    found, [(sentence, label)] = read(path)
    assert len(found) == 2 and label == "cyclic"
    assert "a.sdf: record 2 (second)" in sentence


def test_drawings_are_no_geometries(tmp_path):
    flat = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    rdDepictor.Compute2DCoords(flat)
    found, broken = read(write_sd(tmp_path / "a.sdf", [flat, embedded("CCO")]))
    assert len(found) == 1 and len(broken) == 1


def test_a_flat_molecule_in_the_plane_of_the_axes_is_a_geometry(tmp_path):
    mol = embedded("O")
    positions = mol.GetConformer().GetPositions()
    centred = positions - positions.mean(0)
    plane = centred @ np.linalg.svd(centred)[2].T
    mol.GetConformer().SetPositions(np.column_stack([plane[:, :2], np.zeros(3)]))
    found, broken = read(write_sd(tmp_path / "a.sdf", [mol]))
    assert len(found) == 1 and broken == []


def test_missing_hydrogens_are_counted(tmp_path):
    molecules = [Chem.RemoveHs(embedded("CCO")), embedded("CCO"), embedded("FC(F)(F)F")]
    assert without_hydrogens(read(write_sd(tmp_path / "a.sdf", molecules))[0]) == 1


def test_an_empty_file_has_no_samples(tmp_path):
    (tmp_path / "a.sdf").write_text("")
    assert read(tmp_path / "a.sdf") == ([], [])


def test_what_is_no_sd_file(tmp_path):
    (tmp_path / "a.smi").write_text("CCO\n")
    (tmp_path / "a.xyz").write_text("1\n\nC 0 0 0\n")
    path = write_sd(tmp_path / "a.sdf", smiles_molecules("CCO", "CC"))
    (tmp_path / "cut.sdf.gz").write_bytes(gzip.compress(path.read_bytes())[:-20])
    for name, message in (("a.smi", "no SD file"), ("a.xyz", "unknown type"), ("cut.sdf.gz", "cannot be read")):
        with pytest.raises(ValueError, match=message):
            read(tmp_path / name)
