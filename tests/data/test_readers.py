"""Readers yield molecules with hydrogens, geometry and stereo marks, or say why not."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from ditkernels.models.data.readers import open_reader
from ditkernels.models.data.records import SPLITS, Dropped, Record


def read(path, format=None):
    reader = open_reader(path, format)
    return [record for chunk in reader.chunks() for record in reader.records(chunk)]


def test_npz_gives_geometry_in_the_order_of_the_smiles_with_stereo_from_3d(qm9):
    records = read(qm9)
    assert len(records) == 24 and all(isinstance(r, Record) for r in records)
    for record in records:
        conformer = record.mol.GetConformer()
        assert np.allclose(conformer.GetPositions(), record.positions, atol=1e-4)
        for bond in record.mol.GetBonds():
            length = np.linalg.norm(record.positions[bond.GetBeginAtomIdx()] - record.positions[bond.GetEndAtomIdx()])
            assert 0.9 < length < 1.8
    assert any("@" in Chem.MolToSmiles(r.mol) for r in records)


def test_sdf_plain_and_gzip_give_the_same_records(cascade, tmp_path):
    packed = tmp_path / "copy.sdf.gz"
    packed.write_bytes(gzip.compress(cascade.read_bytes()))
    plain, unpacked = read(cascade), read(packed)
    assert [r.name for r in plain] == [r.name for r in unpacked]
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(plain, unpacked))


def test_a_planar_molecule_in_the_plane_z_0_is_a_geometry(cascade):
    record = next(r for r in read(cascade) if r.name == "20200764")
    assert isinstance(record, Record) and np.abs(record.positions[:, 2]).max() < 0.01


def test_bad_sdf_records_are_reported_and_the_others_kept(cascade, tmp_path):
    good = cascade.read_text().split("$$$$\n")[1]
    flat = Chem.MolFromMolBlock(good, removeHs=False)
    AllChem.Compute2DCoords(flat)
    drawing = Chem.MolToMolBlock(flat)
    without_hydrogens = Chem.MolToMolBlock(Chem.RemoveHs(Chem.MolFromMolBlock(good)))
    path = tmp_path / "mixed.sdf"
    path.write_text("$$$$\n".join([good, "broken\n\n\nnot a counts line\n", drawing, without_hydrogens, good, ""]))
    records = read(path)
    assert [type(r) for r in records] == [Record, Dropped, Dropped, Dropped, Record]
    assert [r.reason for r in records[1:4]] == [
        "SDF record not parsable", "no 3D geometry", "hydrogens missing from the geometry"
    ]  # fmt: skip


def test_the_split_field_of_an_sdf_is_kept_and_conformers_are_separate_records(cascade, tmp_path):
    good = cascade.read_text().split("$$$$\n")[0]
    path = tmp_path / "ensemble.sdf"
    path.write_text("".join(f"{good}>  <split>\n{name}\n\n$$$$\n" for name in ("train", "val", "test")))
    assert [SPLITS[r.split] for r in read(path)] == ["train", "validation", "test"]


def write_xyz(path, mol, order):
    positions = mol.GetConformer().GetPositions()
    lines = [
        f"{mol.GetAtomWithIdx(i).GetSymbol()} {positions[i][0]:.5f} {positions[i][1]:.5f} {positions[i][2]:.5f}"
        for i in order
    ]
    path.write_text("\n".join([str(len(lines)), "", *lines, ""]))


def test_xyz_folder_matches_atoms_in_order_or_by_connectivity_and_reports_the_rest(qm9, tmp_path):
    records = read(qm9)[:4]
    rng = np.random.default_rng(0)
    rows = ["name,smiles"]
    for record, shuffle in zip(records, (False, True, True, True)):
        order = np.arange(record.mol.GetNumAtoms())
        write_xyz(
            tmp_path / f"{record.name}.xyz", record.mol, rng.permutation(order).tolist() if shuffle else order.tolist()
        )
        rows.append(f"{record.name},{Chem.MolToSmiles(Chem.RemoveHs(record.mol), isomericSmiles=False)}")
    write_xyz(tmp_path / "no_smiles.xyz", records[0].mol, range(records[0].mol.GetNumAtoms()))
    write_xyz(tmp_path / "other.xyz", records[0].mol, range(records[0].mol.GetNumAtoms()))
    (tmp_path / "truncated.xyz").write_text("5\n\nC 0 0 0\n")
    rows += ["other,CCO", "truncated,C"]
    (tmp_path / "names.csv").write_text("\n".join(rows) + "\n")
    found = {r.name: r for r in read(tmp_path)}
    for record in records:
        match = found[record.name]
        assert Chem.MolToSmiles(Chem.RemoveHs(match.mol)) == Chem.MolToSmiles(Chem.RemoveHs(record.mol))
    assert found["no_smiles"].reason == "no SMILES in the table"
    assert found["other"].reason == "xyz composition differs from SMILES"
    assert found["truncated"].reason == "xyz not parsable"


def test_folder_of_sdf_files_is_read_in_name_order(cascade, tmp_path):
    blocks = cascade.read_text().split("$$$$\n")
    (tmp_path / "b.sdf").write_text(blocks[0] + "$$$$\n")
    (tmp_path / "a.sdf").write_text(blocks[1] + "$$$$\n")
    assert [r.name for r in read(tmp_path)] == [blocks[1].split("\n")[0], blocks[0].split("\n")[0]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.sdf", None, "does not exist"),
        ("data.txt", b"x", "not recognised"),
        ("data.npz", b"not a zip file", "is not a packed molecule file"),
        ("cut.npz", b"PK\x03\x04 the beginning of one", "is not a packed molecule file"),
        ("data.sdf.gz", b"not gzip", "cannot be read as SDF"),
    ],
)
def test_unreadable_input_is_one_sentence_with_the_path(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read(path)
    assert name in str(error.value)


def test_xyz_folder_without_its_table_is_refused(tmp_path):
    (tmp_path / "a.xyz").write_text("1\n\nH 0 0 0\n")
    with pytest.raises(ValueError, match="exactly one"):
        read(tmp_path)
