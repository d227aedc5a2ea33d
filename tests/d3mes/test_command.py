"""`ditkernels molecules`: every sample accounted for, exit codes, the same files again, resumption, sentences."""

from __future__ import annotations

import csv

import pytest
from click.testing import CliRunner
from rdkit import Chem

from ditkernels.cli.molecules import command
from ditkernels.models import weights
from ditkernels.models.d3mes.generate import MoleculeGenerator
from ditkernels.models.weights import save_model
from tests.support.d3mes import small_network
from tests.support.knowing import Knowing


@pytest.fixture(autouse=True)
def knowing(monkeypatch):
    network = Knowing()
    monkeypatch.setattr(weights, "load_model", lambda name, device, family: network)
    return network


def run(*arguments):
    result = CliRunner().invoke(command, [*map(str, arguments), "--steps", "2"])
    return result.exit_code, result.stdout, result.stderr


def test_every_sample_is_a_record_or_a_line(tmp_path):
    output, failures = tmp_path / "out.sdf", tmp_path / "failed.csv"
    code, stdout, _ = run("-o", output, "-n", 30, "--failures", failures, "--seed", 2)
    found = [mol.GetIntProp("sample") for mol in Chem.SDMolSupplier(str(output), removeHs=False)]
    with failures.open() as stream:
        rows = list(csv.DictReader(stream))
    assert code == 3 and sorted(found + [int(row["sample"]) for row in rows]) == list(range(1, 31))
    assert {(row["reason"], row["detail"], row["atoms"]) for row in rows} == {("disconnected", "2 parts", "5")}
    assert stdout.splitlines() == [
        f"samples 30 / molecules {len(found)} / failed {len(rows)}",
        f"  {len(rows):>6}  disconnected",
    ]


def test_exit_code_of_molecules_alone(tmp_path, knowing):
    knowing.sizes[:, 5] = 0
    code, stdout, _ = run("-o", tmp_path / "out.sdf", "-n", 4)
    assert (code, stdout) == (0, "samples 4 / molecules 4 / failed 0\n")


def test_the_same_seed_gives_the_same_files(tmp_path):
    paths = [tmp_path / f"{n}.sdf" for n in range(3)]
    for path, seed, batch in zip(paths, (1, 1, 2), (256, 7, 256)):
        run("-o", path, "-n", 20, "--seed", seed, "--batch", batch)
    first, second, third = (path.read_text() for path in paths)
    assert first == second != third


def test_an_interrupted_run_continues(tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole.sdf", tmp_path / "broken.sdf"
    options = ("-n", 20, "--batch", 4)
    run("-o", whole, *options)
    samples, calls = MoleculeGenerator._batch, []

    def stop(self, numbers):
        calls.append(numbers)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return samples(self, numbers)

    monkeypatch.setattr(MoleculeGenerator, "_batch", stop)
    code, _, stderr = run("-o", broken, *options)
    assert code == 1 and "--resume continues" in stderr  # click's own; the entry point makes it 130
    assert run("-o", broken, *options)[0] == 2
    assert "--resume" in run("-o", broken, *options)[2]
    assert run("-o", broken, *options, "--resume")[0] == 3
    assert broken.read_text() == whole.read_text()
    assert calls[4].start <= 12  # whole batches are kept


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("-n", "0"), "number must be at least 1, got 0"),
        (("--class", "ring"), "label must be one of any, acyclic, cyclic, got 'ring'"),
        (("--guidance", "-1"), "guidance must be a number of at least 0, got -1"),
        (("--device", "tpu9"), "unknown device 'tpu9'"),
        (("--resume", "--overwrite"), "--resume and --overwrite exclude each other"),
    ],
)
def test_bad_options_are_one_sentence(tmp_path, arguments, sentence):
    code, _, stderr = run("-o", tmp_path / "out.sdf", *arguments)
    assert code == 2 and sentence in stderr and not (tmp_path / "out.sdf").exists()


def test_models_that_are_none(tmp_path, monkeypatch):
    monkeypatch.undo()
    code, _, stderr = run("-o", tmp_path / "out.sdf", "--model", tmp_path)
    assert code == 2 and "neither a shipped model" in stderr
    save_model(small_network("so3-e").float(), tmp_path / "new")
    arguments = ["-o", str(tmp_path / "new.sdf"), "-n", "1", "--model", str(tmp_path / "new")]
    assert "it was not trained" in str(CliRunner().invoke(command, arguments).exception)
