"""Input files: every line is a record, good or bad."""

from __future__ import annotations

import gzip
import io
import sys

import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from ditkernels.models.molecule.featurize import UnsupportedMolecule
from ditkernels.models.molecule.records import MAX_LINE, check_input, molecule_of, read_records


def read(*inputs, **columns):
    return list(read_records([str(name) for name in inputs], **columns))


def summary(records):
    return [(record.location, record.title, record.smiles, record.problem) for record in records]


def test_smiles_file(tmp_path):
    path = tmp_path / "in.smi"
    path.write_text(
        "# a comment\nSMILES Name\nCCO  ethanol of wine \n\nc1ccccc1\tbenzene\n   \nCC\nC1CC broken\r\nN ammonia"
    )
    assert summary(read(path)) == [
        ("3", "ethanol of wine", "CCO", None),
        ("4", "in_4", "", "empty line"),
        ("5", "benzene", "c1ccccc1", None),
        ("6", "in_6", "", "empty line"),
        ("7", "in_7", "CC", None),
        ("8", "broken", "C1CC", None),
        ("9", "ammonia", "N", None),
    ]


def test_header_is_the_first_line_only(tmp_path):
    path = tmp_path / "in.smi"
    path.write_text("CC\nsmiles name\n")
    assert [record.smiles for record in read(path)] == ["CC", "smiles"]


def test_undecodable_and_overlong_lines_fail_alone(tmp_path):
    path = tmp_path / "in.smi"
    path.write_bytes(
        b"\xef\xbb\xbfCC first\n\xff\xfe bytes\nC" + b"C" * (2 * MAX_LINE) + b" long\nC\x00C null\nCO last\n"
    )
    records = read(path)
    assert [record.title for record in records] == ["first", "bytes", "in_3", "null", "last"]
    assert records[0].smiles == "CC"
    assert records[2].problem == f"the line is longer than {MAX_LINE} characters"
    assert molecule_of(records[4]).GetNumAtoms() == 6
    with pytest.raises(UnsupportedMolecule):
        molecule_of(records[1])


def test_csv_file(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text(
        'id,SMILES,corrected,name\n1,CC,CCC,"two, three"\n\n3,,N,no smiles\n4,"C\nO",O,split\n5\n,,,\n7,F,Cl,last\n'
    )
    assert summary(read(path, title_column="name")) == [
        ("2", "two, three", "CC", None),
        ("3", "in_3", "", "empty line"),
        ("4", "no smiles", "", "no SMILES in this row"),
        ("5", "split", "C\nO", None),
        ("7", "in_7", "", "no SMILES in this row"),
        ("8", "in_8", "", "empty line"),
        ("9", "last", "F", None),
    ]
    assert read(path, smiles_column="corrected")[0].smiles == "CCC"


def test_csv_without_the_column(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("id,structure\n1,CC\n")
    with pytest.raises(
        ValueError, match=r"no column 'smiles' \(columns: id, structure\); choose one with --smiles-column"
    ):
        read(path)
    with pytest.raises(ValueError, match="no column 'name'.*--title-column"):
        read(path, smiles_column="structure", title_column="name")


def sd_text(smiles, title):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=3) == 0
    mol.SetProp("_Name", title)
    return Chem.SDWriter.GetText(mol)


def test_sd_file(tmp_path):
    path = tmp_path / "in.sdf"
    good = sd_text("C[C@H](N)C(=O)O", "alanine")
    path.write_text(good + "broken\nno mol block\n\n$$$$\n" + "$$$$\n" + good.replace("alanine", "") + "\n")
    records = read(path)
    assert [(record.location, record.title) for record in records] == [
        ("1", "alanine"),
        (str(good.count("\n") + 1), "broken"),
        (str(good.count("\n") + 5), f"in_{good.count(chr(10)) + 5}"),
        (str(good.count("\n") + 6), f"in_{good.count(chr(10)) + 6}"),
    ]
    assert Chem.MolToSmiles(Chem.RemoveHs(molecule_of(records[0]))) == Chem.CanonSmiles("C[C@H](N)C(=O)O")
    for record in records[1:3]:
        with pytest.raises(UnsupportedMolecule, match="SD record"):
            molecule_of(record)
    assert molecule_of(records[3]).GetNumAtoms() == 13


def test_flat_sd_record_gets_its_hydrogens(tmp_path):
    mol = Chem.MolFromSmiles("C[C@H](N)C(=O)O")
    AllChem.Compute2DCoords(mol)
    (tmp_path / "flat.sdf").write_text(Chem.MolToMolBlock(mol) + "$$$$\n")
    [record] = read(tmp_path / "flat.sdf")
    read_mol = molecule_of(record)
    assert read_mol.GetNumAtoms() == 13
    assert Chem.MolToSmiles(Chem.RemoveHs(read_mol)) == Chem.CanonSmiles("C[C@H](N)C(=O)O")


def test_sd_record_with_a_bad_valence_names_the_atom(tmp_path):
    block = Chem.MolToMolBlock(Chem.MolFromSmiles("C(C)(C)(C)(C)C", sanitize=False), kekulize=False)
    (tmp_path / "bad.sdf").write_text(block + "$$$$\n")
    with pytest.raises(UnsupportedMolecule, match="valence for atom # 0 C"):
        molecule_of(read(tmp_path / "bad.sdf")[0])


@pytest.mark.parametrize("name", ["in.smi", "in.csv", "in.sdf"])
def test_compressed_files(tmp_path, name):
    text = {"in.smi": "CC ethane\n", "in.csv": "smiles,name\nCC,ethane\n", "in.sdf": sd_text("CC", "ethane")}[name]
    with gzip.open(tmp_path / (name + ".gz"), "wt") as stream:
        stream.write(text)
    [record] = read(tmp_path / (name + ".gz"), title_column="name")
    assert record.title == "ethane"
    assert molecule_of(record).GetNumAtoms() == 8


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"CC ethane\n\nN")))
    assert [record.title for record in read("-")] == ["ethane", "stdin_2", "stdin_3"]


def test_several_inputs_share_one_numbering(tmp_path):
    (tmp_path / "a.smi").write_text("C\nCC\n")
    (tmp_path / "b.smi").write_text("\nO water\n")
    records = read(tmp_path / "a.smi", "C[C@H](N)O", tmp_path / "b.smi")
    assert [record.index for record in records] == [0, 1, 2, 3, 4]
    assert [record.location for record in records] == ["a.smi:1", "a.smi:2", "argument 2", "b.smi:1", "b.smi:2"]
    assert [record.title for record in records] == ["a_1", "a_2", "smiles_2", "b_1", "water"]


def test_inputs_that_are_nothing(tmp_path):
    (tmp_path / "molecules.pdb").write_text("")
    with pytest.raises(ValueError, match="neither an existing file nor a SMILES"):
        check_input("absent.smi")
    with pytest.raises(ValueError, match="is a directory"):
        check_input(str(tmp_path))
    with pytest.raises(ValueError, match="unknown type, expected one of .smi"):
        check_input(str(tmp_path / "molecules.pdb"))
