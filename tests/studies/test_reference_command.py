"""`ditkernels study reference`: the training part of a source as a reference for `evaluate-molecules`."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from ditkernels.cli.evaluate_molecules import command as evaluate_molecules
from ditkernels.cli.study import command
from ditkernels.models.metrics.reference import load_reference
from tests.metrics.molecules import smiles_molecules, write_sd

EXTRACT = Path(__file__).parents[1] / "data" / "files" / "qm9_extract.npz"


def test_keys_and_rows_of_the_training_part(tmp_path):
    path = tmp_path / "half.npz"
    arguments = ["reference", "--data", str(EXTRACT), "--split", "12", "4", "--molecules", "5", "--output", str(path)]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0 and "12 training molecules, rows of 5" in result.output, result.output
    known = load_reference(str(path))
    assert len(known.keys) == 12 and [row["samples"] for row in known.rows] == [5, 5]
    molecules = write_sd(tmp_path / "a.sdf", smiles_molecules("CCO"))
    evaluated = CliRunner().invoke(evaluate_molecules, [str(molecules), "--reference", str(path)])
    assert evaluated.exit_code == 0 and "| training data | 5 |" in evaluated.output


def test_the_split_needs_a_large_source(tmp_path):
    result = CliRunner().invoke(command, ["reference", "--data", str(EXTRACT), "--output", str(tmp_path / "x.npz")])
    assert isinstance(result.exception, ValueError) and "leaves none of 24" in str(result.exception)
    assert not (tmp_path / "x.npz").exists()
