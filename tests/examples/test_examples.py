"""The examples do what they say."""

import importlib.util
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDistGeom

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_picture_shows_every_molecule(tmp_path, monkeypatch, capsys):
    source, target = tmp_path / "in.sdf", tmp_path / "out.png"
    with Chem.SDWriter(str(source)) as writer:
        for smiles in ("CC(=O)O", "C#N"):
            mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
            mol.SetProp("_Name", smiles)
            for conformer in rdDistGeom.EmbedMultipleConfs(mol, 2, randomSeed=1):
                writer.write(mol, confId=conformer)
    monkeypatch.setattr(sys, "argv", ["draw_conformers.py", str(source), str(target), "--size", "60"])
    assert load("draw_conformers").main() == 0
    assert "2 molecules" in capsys.readouterr().out
    image = matplotlib.image.imread(target)[..., :3]
    left, right = np.array_split(image, 2, axis=1)
    assert min((half < 0.8).any(axis=2).sum() for half in (left, right)) > 100


def test_picture_is_not_mirrored():
    drawing = load("draw_conformers")
    positions = np.random.default_rng(0).normal(size=(20, 3))
    for cloud in (positions, positions * [1, 1, -1]):
        assert np.linalg.det(drawing.best_view(cloud)) > 0.99


def test_missing_file_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["draw_conformers.py", str(tmp_path / "none.sdf"), str(tmp_path / "out.png")])
    assert load("draw_conformers").main() == 2
    assert "does not exist" in capsys.readouterr().err


def test_own_network_learns():
    errors = load("train_your_own").main(steps=60)
    assert np.mean(errors[-10:]) < 0.5 * np.mean(errors[:5])
