"""Markdown of rows, and rows over seeds."""

from __future__ import annotations

import numpy as np
import pytest

from ditkernels.models.metrics.categories import Confusion
from ditkernels.models.metrics.evaluate import measure, of_molecule
from ditkernels.models.metrics.raw import measure_raw
from ditkernels.models.metrics.table import COLUMNS, LEGEND, confusion_markdown, markdown, over_seeds
from ditkernels.models.molecule.raw import RawMolecule
from tests.metrics.molecules import smiles_molecules


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|\n").split("|")]


def test_columns_that_no_row_has_are_left_out_and_gaps_are_dashes():
    rows = [{"name": "a", "samples": 10, "valid": 0.98765}, {"name": "b", "samples": 5, "edm_atoms": 0.5}]
    header, _, first, second = map(cells, markdown(rows).splitlines())
    assert header == ["", "samples", "valid", "EDM atom"]
    assert first == ["a", "10", "98.8", "–"] and second == ["b", "5", "–", "50.0"]


def test_every_metric_of_a_row_is_a_column_or_a_check():
    row = measure("", [of_molecule(mol, "acyclic") for mol in smiles_molecules("CC")])
    columns = {key for key, _ in COLUMNS}
    raw = measure_raw([(RawMolecule(np.array([6]), np.zeros((1, 3)), np.zeros((0, 3), dtype=np.int64)), "acyclic")])
    assert columns <= set(row | raw)
    assert all(title.split()[-1].rstrip(",.") in LEGEND for _, title in COLUMNS[1:])


def test_mean_and_deviation_over_seeds():
    rows = [{"name": "s", "samples": 100, "valid": share, "novel": None} for share in (0.8, 0.9, 1.0)]
    found = over_seeds("all", rows)
    assert (found["samples"], found["seeds"], found["valid"]) == (300, 3, pytest.approx(0.9))
    assert found["sd"] == {"valid": pytest.approx(0.1)} and "novel" not in found
    assert cells(markdown([found]).splitlines()[-1]) == ["all", "300", "90.0 ± 10.0"]


def test_a_single_seed_has_no_deviation():
    assert over_seeds("one", [{"samples": 3, "valid": 0.5}])["sd"] == {}


def test_confusion_counts_samples():
    pairs = [("acyclic", "acyclic")] * 3 + [("acyclic", "cyclic"), ("cyclic", "failed"), ("unknown", "failed")]
    text = confusion_markdown({"confusion": Confusion.of(pairs).counts})
    assert [cells(line) for line in text.splitlines()[2:]] == [
        ["acyclic", "3", "1", "0"],
        ["cyclic", "0", "0", "1"],
        ["unknown", "0", "0", "1"],
    ]
    assert confusion_markdown({}) == ""


def test_accuracy_over_all_and_over_valid_samples():
    confusion = Confusion.of([("acyclic", "acyclic")] * 3 + [("cyclic", "acyclic"), ("cyclic", "failed")])
    assert confusion.accuracy(valid_only=False) == 3 / 5
    assert confusion.accuracy(valid_only=True) == 3 / 4
    assert Confusion.of([("cyclic", "failed")]).accuracy(valid_only=True) is None
