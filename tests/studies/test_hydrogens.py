"""The study of hydrogens: what is stripped, which group an atom is in, and the shares."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rdkit import Chem

from ditkernels.cli.study import command
from ditkernels.models.data.records import Record
from ditkernels.models.studies.hydrogens import (
    WAYS,
    added_hydrogens,
    groups_of,
    hydrogens_table,
    measure_hydrogens,
    stripped,
)
from tests.evaluation.molecules import embedded
from tests.metrics.molecules import write_sd

EXTRACT = Path(__file__).parents[1] / "data" / "files" / "qm9_extract.npz"
SMALLEST, MAXIMUM = WAYS.index(("rows", "smallest")), WAYS.index(("rows", "maximum"))


def record(smiles: str) -> Record:
    mol = embedded(smiles)
    return Record(mol, mol.GetConformer().GetPositions(), smiles)


def shares(facts: dict, group: str) -> dict:
    return next(found for found in facts["groups"] if found["name"] == group)


def test_stripped_molecules_keep_heavy_atoms_and_kekule_bonds():
    mol = embedded("Cc1ccccc1O")
    raw, hydrogens = stripped(mol, mol.GetConformer().GetPositions())
    assert raw.elements.tolist() == [6] * 7 + [8]
    assert hydrogens.tolist() == [3, 0, 1, 1, 1, 1, 0, 1]
    assert sorted(raw.bonds[:, 2].tolist()) == [1] * 5 + [2] * 3
    assert (raw.bonds[:, 0] < raw.bonds[:, 1]).all()
    assert np.array_equal(raw.positions, mol.GetConformer().GetPositions()[:8])


def test_hydrogens_between_the_heavy_atoms_do_not_shift_them():
    mol = Chem.RenumberAtoms(embedded("CO"), [2, 0, 3, 5, 1, 4])
    raw, hydrogens = stripped(mol, mol.GetConformer().GetPositions())
    assert raw.elements.tolist() == [6, 8] and hydrogens.tolist() == [3, 1] and raw.bonds.tolist() == [[0, 1, 1]]
    assert np.array_equal(raw.positions, mol.GetConformer().GetPositions()[[1, 4]])


@pytest.mark.parametrize(
    ("smiles", "group", "atoms"),
    [
        ("CC(=O)NC", "amide", [1, 2, 3]),
        ("CC(O)=NC", "imidic acid", [1, 2, 3]),
        ("CC(C)=O", "ketone or aldehyde with α-H", [0, 1, 2, 3]),
        ("C=C(C)O", "enol", [0, 1, 3]),
        ("c1c[nH]cn1", "azole", [0, 1, 2, 3, 4]),
        ("CC(=O)[O-]", "carboxylic acid or carboxylate", [1, 2, 3]),
        ("C[N+](=O)[O-]", "charged", [1, 3]),
        ("CSC", "sulfur", [1]),
        ("C1CC1C", "ring of 3 or 4", [0, 1, 2]),
        ("C[C]C", "radical", [1]),
    ],
)
def test_groups(smiles, group, atoms):
    found = groups_of(embedded(smiles))
    assert found[group] == atoms
    assert group not in groups_of(embedded("CCCC"))
    assert found["all"] == list(range(Chem.MolFromSmiles(smiles).GetNumAtoms()))


def test_charged_molecules_are_counted_apart():
    facts = measure_hydrogens([record("CC(=O)[O-]"), record("CCO"), record("CC(C)O")])
    apart = [shares(facts, f"molecules {word} charges") for word in ("without", "with")]
    assert [found["molecules"] for found in apart] == [2, 1]
    assert apart[0]["molecules right"][SMALLEST] == 1.0 and apart[1]["molecules right"][SMALLEST] == 0.0
    # Of the acetate's four atoms, the charged one alone is wrong.
    assert apart[1]["atoms right"][SMALLEST] == 3 / 4
    assert facts["assembled"]["rows smallest"] == {"same": 2, "other": 1}


def test_the_maximum_rule_is_wrong_about_a_thioether_alone():
    facts = measure_hydrogens([record("CSC"), record("CCO")])
    assert shares(facts, "sulfur")["atoms right"][SMALLEST] == 1.0
    assert shares(facts, "sulfur")["atoms right"][MAXIMUM] == 0.0
    assert shares(facts, "all")["atoms right"][MAXIMUM] == 5 / 6
    assert shares(facts, "all")["molecules right"][MAXIMUM] == 1 / 2
    assert facts["assembled"]["rows maximum"] == {"same": 1, "other": 1}


def test_atoms_beyond_every_valence_are_wrong_and_the_molecule_fails():
    facts = measure_hydrogens([record("C[N+](=O)[O-]")])
    assert shares(facts, "nitro")["atoms right"][SMALLEST] == 1 / 3  # its carbonyl-like oxygen
    assert facts["assembled"]["rows smallest"] == {"over-valence": 1}


def test_bonds_by_distance_are_of_the_heavy_atoms():
    mol = embedded("CCO")
    raw, hydrogens = stripped(mol, mol.GetConformer().GetPositions())
    assert added_hydrogens(raw, "geometry", "smallest").tolist() == hydrogens.tolist()
    stretched = type(raw)(raw.elements, 2 * raw.positions, raw.bonds)
    assert added_hydrogens(stretched, "geometry", "smallest").tolist() == [4, 4, 2]
    assert added_hydrogens(stretched, "rows", "smallest").tolist() == hydrogens.tolist()


def test_the_table_shows_every_group_and_outcome():
    text = hydrogens_table(measure_hydrogens([record("CSC"), record("CC(=O)NC")]))
    for line in ("| sulfur | 1 | 100.0 | 0.0 |", "| amide | 3 | 100.0 |", "| the same molecule | another molecule |"):
        assert line in text


def test_the_command_writes_table_and_json(tmp_path):
    arguments = ["hydrogens", "--data", str(EXTRACT), "--part", "all", "--results", str(tmp_path), "--name", "few"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "few.json").read_text())
    assert facts["command"] == "ditkernels study hydrogens --data qm9_extract.npz --part all --name few"
    assert facts["molecules"] == 24 and facts["part"] == "all"
    assert shares(facts, "molecules without charges")["atoms right"][SMALLEST] == 1.0
    assert "24 molecules of qm9_extract.npz" in (tmp_path / "few.md").read_text()


def test_records_that_the_reader_leaves_out_are_said(tmp_path):
    path = write_sd(tmp_path / "a.sdf", [embedded("CCO"), Chem.RemoveHs(embedded("CCO"))])
    arguments = ["hydrogens", "--data", str(path), "--part", "all", "--results", str(tmp_path)]
    assert CliRunner().invoke(command, arguments).exit_code == 0
    text = (tmp_path / "hydrogens.md").read_text()
    assert "1 molecules of a.sdf, all. Left out: 1, hydrogens missing from the geometry." in text


def test_the_split_of_another_source(tmp_path):
    arguments = ["hydrogens", "--data", str(EXTRACT), "--split", "15", "4", "--results", str(tmp_path)]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "hydrogens.json").read_text())
    assert facts["molecules"] == 5 and "--part test --split 15 4 --name" in facts["command"]


def test_a_small_file_has_no_test_part(tmp_path):
    result = CliRunner().invoke(command, ["hydrogens", "--data", str(EXTRACT), "--results", str(tmp_path)])
    assert isinstance(result.exception, ValueError) and "leaves none of 24" in str(result.exception)
    assert not list(tmp_path.iterdir())
