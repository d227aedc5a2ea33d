"""`ditkernels evaluate-molecules` from files to the table and the JSON."""

from __future__ import annotations

import csv
import json

import pytest
from click.testing import CliRunner
from rdkit import Chem

from ditkernels.cli.evaluate_molecules import command
from ditkernels.models.d3mes.generate import FAILURE_COLUMNS
from tests.evaluation.molecules import embedded
from tests.metrics.molecules import five_bonds, smiles_molecules, write_sd


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture
def sampled(tmp_path):
    molecules = smiles_molecules("CCO", "C1CC1", "CCO", "CC(C)(C)CC(C)(C)CC(C)(C)C")
    classes = ["acyclic", "cyclic", "cyclic", "acyclic"]
    return write_sd(tmp_path / "sampled.sdf", molecules, **{"class": classes})


def test_table_and_json_have_the_data_and_the_noise(sampled, tmp_path):
    output = tmp_path / "rows.json"
    result = run(sampled, "--json", output)
    assert result.exit_code == 0, result.output
    own, data, null = json.loads(output.read_text())
    assert (own["name"], data["name"]) == ("sampled.sdf", "training data") and null["name"].startswith("null")
    assert own["samples"] == 4 and own["valid"] == own["edm_molecules"] == 1.0
    # Cyclopropane is a training molecule.
    assert own["unique"] == 3 / 4 and own["novel"] == pytest.approx(2 / 3)
    assert own["class_all"] == 3 / 4
    for text in ("| sampled.sdf | 4 | 100.0 | 75.0 |", "| training data |", "| null", "| acyclic | 2 | 0 | 0 |"):
        assert text in result.output


def test_failed_samples_count(sampled, tmp_path):
    failures, output = tmp_path / "failures.csv", tmp_path / "rows.json"
    with failures.open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(FAILURE_COLUMNS)
        table.writerows([(5, "cyclic", 9, "clash", "x"), (6, "acyclic", 9, "disconnected", "2 parts")])
    assert run(sampled, "--failures", failures, "--json", output).exit_code == 0
    own = json.loads(output.read_text())[0]
    assert (own["samples"], own["lost"]) == (6, 2)
    assert own["valid"] == 4 / 6 and own["class_all"] == 3 / 6 and own["class_valid"] == 3 / 4
    assert own["confusion"]["cyclic"] == {"acyclic": 1, "cyclic": 1, "failed": 1}
    assert run(sampled, "--asked", 8, "--json", output).exit_code == 0
    own = json.loads(output.read_text())[0]
    assert own["samples"] == 8 and own["valid"] == 0.5 and own["class_all"] == 3 / 8


def test_broken_records_are_named_and_count_as_failed(tmp_path):
    path = write_sd(tmp_path / "a.sdf", [embedded("CC"), five_bonds()])
    path.write_text(path.read_text() + "third\nnot a molecule\n$$$$\n")
    for arguments in ((), ("--asked", 3)):
        output = tmp_path / "rows.json"
        result = run(path, *arguments, "--json", output)
        assert result.exit_code == 3 and "record 3 (third)" in result.output
        own = json.loads(output.read_text())[0]
        assert own["samples"] == 3 and own["lost"] == 1 and own["valid"] == pytest.approx(1 / 3)


def test_several_files_are_several_rows(sampled, tmp_path):
    other = write_sd(tmp_path / "other.sdf", smiles_molecules("CC"))
    result = run(sampled, other)
    assert result.exit_code == 0 and "| sampled.sdf | 4 |" in result.output and "| other.sdf | 1 |" in result.output


def test_a_file_of_nothing_but_failures(tmp_path):
    (tmp_path / "none.sdf").write_text("")
    result = run(tmp_path / "none.sdf", "--asked", 10)
    assert result.exit_code == 0 and "| none.sdf | 10 | 0.0 | – |" in result.output


def test_missing_hydrogens_are_said(tmp_path):
    path = write_sd(tmp_path / "a.sdf", [Chem.RemoveHs(embedded("CCO"))])
    assert "1 molecules lack hydrogens" in run(path).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--asked", 3], "--asked is 3, but"),
        (["--reference", "nowhere"], "neither a shipped reference"),
        (["--failures", "{sampled}"], "is no table of failures"),
        (["{sampled}", "--asked", 9], "belong to a single IN"),
        (["--asked", 9, "--failures", "{sampled}"], "give one of them"),
    ],
)
def test_wrong_usage(arguments, message, sampled):
    result = run(sampled, *(str(argument).format(sampled=sampled) for argument in arguments))
    assert result.exit_code == 2 and message in result.output


def test_an_empty_file_is_no_input(tmp_path):
    (tmp_path / "none.sdf").write_text("")
    result = run(tmp_path / "none.sdf")
    assert result.exit_code == 2 and "holds no record" in result.output
