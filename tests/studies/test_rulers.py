"""The study of the two rulers, on small extracts; and its committed result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ditkernels.cli.study import command
from ditkernels.models.metrics.evaluate import Generated, of_molecule
from ditkernels.models.studies.rulers import noise_row, read_samples, ruler_row, rulers_table
from tests.metrics.molecules import FILES, smiles_molecules

COMMITTED = Path(__file__).parents[2] / "benchmarks" / "results" / "studies" / "rulers.json"
DATA = Path(__file__).parents[1] / "data" / "files" / "qm9_extract.npz"


def test_samples_of_a_file(tmp_path):
    samples = read_samples(FILES / "gschnet_extract.npz")
    assert len(samples) == 200 and all(len(s.elements) == len(s.positions) and s.mol is None for s in samples)
    with pytest.raises(ValueError, match="is no file of samples"):
        read_samples(DATA)


def test_parts_are_those_of_each_rulers_bonds():
    (mol,) = smiles_molecules("CC")
    whole = of_molecule(mol)
    # At 1.6 Å the carbons are bonded with EDM's margin, and not without one.
    axis = whole.positions[1] - whole.positions[0]
    length = np.linalg.norm(axis)
    shift = ((whole.positions - whole.positions[0]) @ axis > axis @ axis / 2)[:, None] * axis * (1.6 - length) / length
    row = ruler_row("stretched", [Generated(whole.elements, whole.positions + shift, None)])
    assert (row["edm_connected"], row["counts_connected"]) == (1.0, 0.0)
    assert row["edm_molecules"] == row["counts_molecules"] == 1.0


def test_noise_over_seeds():
    row = noise_row(50, range(3), 1.5)
    assert row["samples"] == 150 and row["name"] == "noise, σ = 1.5 Å, 3 seeds"
    assert row["counts_molecules"] > 0.8 and row["edm_molecules"] == 0.0 and row["counts_connected"] < 0.1
    assert row["sd"]["counts_molecules"] > 0


def test_published_scores_stand_beside_the_measured_ones():
    text = rulers_table([ruler_row("two", [of_molecule(mol) for mol in smiles_molecules("CC", "CCO")])])
    assert "| two | 2 | 100.00 | 100.00 |" in text
    assert "| published: G-SchNet | – | 95.70 | 68.10 | 85.50 | 80.30 |" in text


def test_the_command_writes_table_and_json(tmp_path):
    arguments = f"rulers --data {DATA} --part all --samples {FILES / 'gschnet_extract.npz'} -n 20 --seeds 2"
    result = CliRunner().invoke(command, [*arguments.split(), "--results", str(tmp_path)])
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "rulers.json").read_text())["rows"]
    assert [row["samples"] for row in rows] == [20, 20, 40, 40]
    assert "noise, σ = 1.4 Å" in (tmp_path / "rulers.md").read_text()


def test_the_committed_result_has_the_published_scores():
    """EDM's ruler gives G-SchNet 95.7, 68.1, 85.5, 80.3; noise passes the ruler of counts."""
    _, gschnet, noise, _ = json.loads(COMMITTED.read_text())["rows"]
    found = [100 * gschnet[key] for key in ("edm_atoms", "edm_molecules", "edm_valid", "edm_valid_unique")]
    assert gschnet["samples"] == 10_000 and found == pytest.approx([95.7, 68.1, 85.5, 80.3], abs=0.1)
    assert 100 * noise["counts_atoms"] == pytest.approx(99.37, abs=0.06)
    assert 100 * noise["counts_molecules"] == pytest.approx(95.56, abs=0.3)
