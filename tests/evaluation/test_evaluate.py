"""`ditkernels evaluate` from files to the printed table and the JSON."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from rdkit import Chem

from ditkernels.cli.evaluate import command
from ditkernels.models.data.records import connectivity_key, connectivity_smiles
from ditkernels.models.evaluation.kept_aside import kept_aside
from tests.evaluation.molecules import embedded

SMILES = ["CCO", "CC(=O)[O-]", "C[C@H](F)CO", "C/C=C/C", "c1ccccc1C", "C[N+](=O)[O-]", "CC#N", "OCC(N)=O"]


@pytest.fixture
def references(tmp_path):
    path = tmp_path / "references.sdf"
    with Chem.SDWriter(str(path)) as writer:
        for smiles in SMILES[:3]:
            mol = embedded(smiles, 2)
            mol.SetProp("_Name", smiles)
            for conformer in mol.GetConformers():
                writer.write(mol, confId=conformer.GetId())
    return path


@pytest.fixture
def training_config(tmp_path):
    """A packed source of all molecules, half of them kept aside for the test."""
    mols = [embedded(smiles) for smiles in SMILES]
    np.savez(
        tmp_path / "packed.npz",
        idx=np.arange(len(mols)),
        ptr=np.cumsum([0, *(m.GetNumAtoms() for m in mols)]),
        pos_e4=np.concatenate([np.rint(m.GetConformer().GetPositions() * 1e4).astype(np.int32) for m in mols]),
        smiles=np.array([s.encode() for s in SMILES]),
    )
    config = {
        "model": "ape-s",
        "data": {
            "sources": [{"path": "packed.npz", "test": 0.5, "validation": 0.0}],
            "root": str(tmp_path),
            "cache": str(tmp_path / "cache"),
            "workers": 1,
        },
        "schedule": {"steps": 1},
    }
    path = tmp_path / "train.yaml"
    path.write_text(json.dumps(config))
    return path


def test_results_of_the_baseline(references, tmp_path):
    output, molecules = tmp_path / "out.json", tmp_path / "molecules.csv"
    arguments = f"--data {references} --baseline etkdg -n 2 --threshold 0.5 --threshold 1 --workers 1".split()
    result = CliRunner().invoke(command, [*arguments, "--output", str(output), "--molecules", str(molecules)])
    assert result.exit_code == 0, result.output
    assert "COV-R 0.5" in result.output and "etkdg (mean)" in result.output
    report = json.loads(output.read_text())
    assert (report["molecules"], report["references"], report["samples"]) == (3, 6, 2)
    [method] = report["methods"]
    assert method["name"] == "etkdg" and method["conformers_generated"] == 6 and method["failures"] == []
    assert method["mean"]["right_stereo"] == 1.0
    assert 0 <= method["mean"]["cov_r@0.5"] <= method["mean"]["cov_r@1"] <= 1
    rows = list(csv.DictReader(molecules.open()))
    assert [row["molecule"] for row in rows] == SMILES[:3]


def test_two_samples_per_reference_by_default(references, tmp_path):
    output = tmp_path / "out.json"
    arguments = f"--data {references} --baseline etkdg --limit 1 --workers 1 --output {output}".split()
    assert CliRunner().invoke(command, arguments).exit_code == 0
    report = json.loads(output.read_text())
    assert report["samples"] == "2K" and report["methods"][0]["conformers_generated"] == 4


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ("", "name a --model"),
        ("--baseline etkdg --source x", "belong to a training configuration"),
        ("--baseline etkdg -n none", "neither a positive number nor 2K"),
    ],
)
def test_wrong_usage(references, arguments, complaint):
    result = CliRunner().invoke(command, ["--data", str(references), *arguments.split()])
    assert result.exit_code == 2 and complaint in result.output


def test_kept_aside_molecules_are_those_of_the_training_split(training_config):
    sets, rejected = kept_aside(training_config, "test")
    keys = {s: connectivity_key(connectivity_smiles(Chem.AddHs(Chem.MolFromSmiles(s)))) / 2.0**64 for s in SMILES}
    expected = {Chem.CanonSmiles(s) for s in SMILES if keys[s] < 0.5}
    assert rejected == []
    assert {Chem.CanonSmiles(s.smiles) for s in sets} == expected
    assert 0 < len(expected) < len(SMILES)


def test_kept_aside_geometry_is_that_of_the_source(training_config):
    sets, _ = kept_aside(training_config, "test")
    by_name = {s.name: s for s in sets}
    for name, reference in by_name.items():
        original = embedded(SMILES[int(name)])
        match = reference.mol.GetSubstructMatch(original)
        moved = reference.mol.GetConformer().GetPositions()[list(match)]
        lengths = [
            np.linalg.norm(m[:, None] - m[None], axis=-1) for m in (moved, original.GetConformer().GetPositions())
        ]
        # Equivalent hydrogens may be exchanged, so the sorted distances are compared.
        np.testing.assert_allclose(np.sort(lengths[0], axis=None), np.sort(lengths[1], axis=None), atol=2e-3)


def test_unknown_source_is_an_error(training_config):
    with pytest.raises(ValueError, match="has no source 'other', only packed"):
        kept_aside(training_config, "test", source="other")
