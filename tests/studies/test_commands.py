"""`ditkernels study`: the commands from arguments to result files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from ditkernels.cli.study import command
from ditkernels.models.weights import save_model
from tests.support.d3mes import small_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small network, a reference without molecules, and some geometries."""
    path = tmp_path_factory.mktemp("study")
    model = small_network("so3-e", dtype=torch.float32, classes=1)
    model.sizes.copy_(torch.tensor([[0.0, 1, 0, 2, 0, 0, 0, 0, 0, 10]]))
    save_model(model, path / "net")
    np.savez(path / "reference.npz", steps=np.zeros(0, np.uint64), rows=np.array("[]"))
    with Chem.SDWriter(str(path / "molecules.sdf")) as writer:
        for smiles in ("CCO", "c1ccccc1C#N", "CC(=O)N", "CCBr", "CCCCCCCCCCC"):
            mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
            rdDistGeom.EmbedMolecule(mol, randomSeed=1)
            writer.write(mol)
    return path


def run(folder, study, *arguments, name=None):
    name = name or study
    result = CliRunner().invoke(
        command, [study, f"small={folder / 'net'}", *arguments, "--results", str(folder / "results")]
    )
    assert result.exit_code == 0, result.output
    record = json.loads((folder / "results" / f"{name}.json").read_text())
    assert record["command"].startswith(f"ditkernels study {study} small=net --") and str(folder) not in str(record)
    assert record["command"] in (folder / "results" / f"{name}.md").read_text()
    return record


def test_sizes(folder):
    options = ["--bins", "1-3,9", "-n", "2", "--seeds", "2", "--steps", "2"]
    options += ["--reference", str(folder / "reference.npz"), "--name", "bins"]
    record = run(folder, "sizes", *options, name="bins")
    assert [row["name"] for row in record["rows"]] == ["small, 1–3 heavy atoms", "small, 9 heavy atoms"]
    assert record["command"].endswith("--reference reference.npz --name bins")


def test_guidance(folder, tmp_path):
    """Two scales of a network with classes; its row of bonds is judged even if nothing is a molecule."""
    model = small_network("so3-e", dtype=torch.float32)
    model.sizes.copy_(torch.tensor([[0.0, 1, 0, 2, 0, 0, 0, 0, 0, 0], [0.0, 0, 0, 1, 0, 0, 0, 0, 0, 0]]))
    save_model(model, tmp_path / "classes")
    arguments = ["guidance", f"two={tmp_path / 'classes'}", "--values", "0,2", "-n", "3", "--seeds", "1"]
    more = ["--steps", "2", "--reference", str(folder / "reference.npz"), "--results", str(tmp_path)]
    result = CliRunner().invoke(command, arguments + more)
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "guidance.json").read_text())["rows"]
    assert [(row["name"], row["guidance"]) for row in rows] == [("two, s = 0", 0.0), ("two, s = 2", 2.0)]
    for row in rows:
        assert all(0 <= row[key] <= 1 for key in ("class_all", "class_rows", "connected", "agreement"))
        assert row["class_all"] <= row["valid"] <= row["connected"]
    assert "two, s = 2, seed 0: samples by class" in (tmp_path / "guidance.md").read_text()


@pytest.mark.parametrize("values", ["", "1,x"])
def test_scales_that_are_none(folder, values):
    result = CliRunner().invoke(command, ["guidance", f"small={folder / 'net'}", "--values", values])
    assert result.exit_code == 2 and "--values must be numbers with commas between them" in result.output


def test_patches(folder):
    options = ["--small", "1-3", "-n", "2", "--seeds", "1", "--steps", "2"]
    rows = run(folder, "patches", *options, "--reference", str(folder / "reference.npz"))["rows"]
    assert [row["name"] for row in rows] == ["small", "small, 1–3 heavy atoms"]


def test_rotation(folder):
    record = run(folder, "rotation", "--data", str(folder / "molecules.sdf"), "-n", "5", "--steps", "2")
    assert [row["name"] for row in record["rows"]] == ["small", "small, untrained"]
    assert record["rows"][0]["samples"]["samples"] == 3  # the image holds neither bromine nor eleven atoms


def test_models_have_names(folder):
    result = CliRunner().invoke(command, ["sizes", str(folder / "net")])
    assert result.exit_code == 2 and "every model must be given as NAME=MODEL" in result.output


def test_commands_name_a_checkpoint_by_its_run():
    from ditkernels.cli.study import _command_line

    pairs = [("a", "/home/me/runs/first/checkpoints/step_00000100"), ("b", "d3mes-qm9"), ("c", "weights/mine")]
    expected = "ditkernels study arms a=first/step_00000100 b=d3mes-qm9 c=mine --class any"
    assert _command_line("arms", pairs, **{"class": "any"}) == expected
