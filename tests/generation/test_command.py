"""`ditkernels conformers`: every line accounted for, exit codes, reproducible files, interruption and resumption."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from rdkit import Chem

from ditkernels.cli.conformers import command
from ditkernels.models.weights import save_model
from tests.support.networks import small_network

BAD_LINES = """\
# molecules and other things
SMILES title
CCO ethanol
C1CC broken ring

C(C)(C)(C)(C)C five bonds
CC.O two parts
CC[Te]C tellurium
C12345 nonsense
[Na+] sodium
c1ccccc1\tbenzene of the coal tar
CCCCCCCCCCCC too long
C[N+](=O)[O-]
<html> page
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(small_network().float(), folder)
    return str(folder)


def run(*arguments, model, stdin=None):
    """(exit code, stdout, stderr) of a short run."""
    result = CliRunner().invoke(command, [*map(str, arguments), "--model", model, "--steps", "2"], input=stdin)
    return result.exit_code, result.stdout, result.stderr


def titles(path):
    return [mol.GetProp("_Name") for mol in Chem.SDMolSupplier(str(path), removeHs=False)]


def test_every_line_is_accounted_for(tmp_path, model):
    source, output, failures = tmp_path / "in.smi", tmp_path / "out.sdf", tmp_path / "failed.csv"
    source.write_text(BAD_LINES)
    code, stdout, _ = run(source, "-o", output, "-n", 2, "--max-atoms", 30, "--failures", failures, model=model)
    assert code == 3
    assert stdout.splitlines()[-1].startswith("in 12 / out 4 / failed 8 (8 conformers")
    assert titles(output)[::2] == ["ethanol", "sodium", "benzene of the coal tar", "in_13"]
    with open(failures) as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["line", "title", "smiles", "reason"]
    assert [(row[0], row[1]) for row in rows[1:]] == [
        ("4", "broken ring"), ("5", "in_5"), ("6", "five bonds"), ("7", "two parts"), ("8", "tellurium"),
        ("9", "nonsense"), ("12", "too long"), ("14", "page"),
    ]  # fmt: skip
    assert rows[2][3] == "empty line"
    assert "38 atoms, more than the limit of 30" in rows[7][3]


def test_complete_run_exits_with_zero(tmp_path, model):
    code, stdout, stderr = run("CCO", "CN", "-o", tmp_path / "out.sdf", "-n", 3, model=model)
    assert (code, stdout) == (0, "in 2 / out 2 / failed 0 (6 conformers, 0 molecules with some missing)\n")
    assert "conformers: 100%" in stderr
    assert titles(tmp_path / "out.sdf") == ["smiles_1"] * 3 + ["smiles_2"] * 3


def test_reasons_go_to_stderr_without_a_failures_file(tmp_path, model):
    code, _, stderr = run("-", "-o", tmp_path / "out.sdf", model=model, stdin="CC ethane\nC.C two methanes\n")
    assert code == 3
    assert "2 two methanes: the molecule has 2 disconnected fragments" in stderr


def test_largest_fragment(tmp_path, model):
    code, _, _ = run("CCO.[Na+]", "-o", tmp_path / "out.sdf", "-n", 1, "--largest-fragment", model=model)
    [mol] = Chem.SDMolSupplier(str(tmp_path / "out.sdf"))
    assert code == 0
    assert (mol.GetProp("smiles"), mol.GetProp("kept_fragment")) == ("CCO.[Na+]", "CCO")


def test_molecule_that_never_gets_its_stereochemistry_is_reported(tmp_path, model):
    """An untrained network does not hit eleven centers at once."""
    sugar = "OC[C@H]1O[C@H](O[C@@H]2[C@@H](O)[C@H](O)[C@@H](O)[C@H](CO)O2)[C@H](O)[C@@H](O)[C@@H]1O"
    code, stdout, stderr = run(sugar, "CC", "-o", tmp_path / "out.sdf", "-n", 2, "--attempts", 2, model=model)
    assert code == 3
    assert stdout.startswith("in 2 / out 1 / failed 1 ")
    assert "2 of 2 conformers missing after 2 attempts each: wrong stereochemistry at C" in stderr


def test_table_and_sd_file_and_option_names(tmp_path, model):
    table = tmp_path / "in.csv"
    table.write_text("structure,name\nCC,ethane\nC#N,prussic acid\n")
    columns = ["--smiles-column", "structure", "--title-column", "name"]
    first = run(table, "-o", tmp_path / "a.sdf", "-n", 1, *columns, model=model)
    second = run(tmp_path / "a.sdf", "-o", tmp_path / "b.sdf", "-n", 1, model=model)
    assert (first[0], second[0]) == (0, 0)
    assert titles(tmp_path / "a.sdf") == titles(tmp_path / "b.sdf") == ["ethane", "prussic acid"]


def test_same_seed_same_file(tmp_path, model):
    smiles = ["CCO", "C[C@H](N)C(=O)O", "c1ccccc1"]
    for name, seed in (("a", 4), ("b", 4), ("c", 5)):
        run(*smiles, "-o", tmp_path / f"{name}.sdf", "-n", 4, "--seed", seed, "--attempts", 8, model=model)
    a, b, c = ((tmp_path / f"{name}.sdf").read_bytes() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize("options", [
    ["--method", "heun"], ["--grid", "log"], ["--prior", "gaussian"], ["--impl", "reference"], ["--device", "cpu"],
    ["--max-pairs-per-batch", "50"], ["--max-atoms-per-batch", "9"], ["--prune-rms", "0.01"], ["--minimize", "mmff"],
])  # fmt: skip
def test_options_run(tmp_path, model, options):
    code, stdout, _ = run("CCO", "-o", tmp_path / "out.sdf", "-n", 2, *options, model=model)
    assert code == 0
    assert stdout.startswith("in 1 / out 1 / failed 0")


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["absent.smi"], "neither an existing file nor a SMILES"),
    (["C", "-n", "0"], "conformers must be at least 1, got 0"),
    (["C", "--grid", "cosine"], "grid must be one of uniform, log"),
    (["C", "--model", "absent"], "model 'absent'"),
    (["C", "--device", "abacus"], "unknown device 'abacus'"),
    (["C", "--device", "cpu", "--cuda-graph"], "cuda_graph needs the network on a GPU, and it is on cpu"),
    (["-", "--resume"], "not standard input"),
    (["C", "--resume", "--overwrite"], "exclude each other"),
    (["C", "--failures", "out.sdf"], "--failures names the output file"),
    (["C", "--failures", "absent/failed.csv"], "the folder of absent/failed.csv does not exist"),
    ([], "Missing argument"),
])  # fmt: skip
def test_wrong_usage_exits_with_two_and_writes_nothing(tmp_path, model, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, ["-o", "out.sdf", "--model", model, *arguments])
    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_existing_output_is_kept_unless_told(tmp_path, model):
    output = tmp_path / "out.sdf"
    output.write_text("precious")
    refused, resumed = (run("CC", "-o", output, *more, model=model) for more in ([], ["--resume"]))
    assert (refused[0], resumed[0]) == (2, 2)
    assert "replace it with --overwrite" in refused[2]
    assert "nothing to resume" in resumed[2]
    assert output.read_text() == "precious"
    assert run("CC", "-o", output, "--overwrite", model=model)[0] == 0
    assert len(titles(output)) == 10


def test_input_is_never_overwritten(tmp_path, model):
    source = tmp_path / "in.sdf"
    run("CC", "-o", source, model=model)
    before = source.read_bytes()
    code, _, stderr = run(source, "-o", source, "--overwrite", model=model)
    assert code == 2
    assert "is an input file" in stderr
    assert source.read_bytes() == before


# Runs the command with a sampler that never comes back from its sixth batch.
STUCK = """
import sys, time
from ditkernels.models.generation import sampling
from ditkernels.cli.main import main
usual = sampling.sample
calls = []
sampling.sample = lambda *a, **k: (calls.append(1), time.sleep(600) if len(calls) == 6 else None, usual(*a, **k))[2]
sys.argv[0] = "ditkernels"
main()
"""


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_killed_run_is_resumed_to_the_same_bytes(tmp_path, model, ending, code):
    source = tmp_path / "in.smi"
    source.write_text("".join(f"{'C' * (1 + k % 7)}O alcohol {k}\nC.C bad {k}\n" for k in range(20)))
    options = ["-n", "2", "--max-atoms-per-batch", "40", "--steps", "2", "--model", model]
    output, failures = tmp_path / "out.sdf", tmp_path / "failed.csv"
    arguments = ["conformers", str(source), "-o", str(output), "--failures", str(failures), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, *arguments],
        stderr=subprocess.PIPE,
        env=environment,
        # What a shell starts in the background ignores the signal, and passes that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 300
    while (not output.exists() or b"alcohol 4" not in output.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(ending)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == code
    assert 0 < len(titles(output)) < 40
    if ending == signal.SIGINT:
        assert b"--resume continues" in stderr
    again = run(source, "-o", output, "--failures", failures, *options, "--resume", model=model)
    whole = run(source, "-o", tmp_path / "whole.sdf", "--failures", tmp_path / "whole.csv", *options, model=model)
    assert again[:2] == whole[:2] == (3, "in 40 / out 20 / failed 20 (40 conformers, 0 molecules with some missing)\n")
    assert output.read_bytes() == (tmp_path / "whole.sdf").read_bytes()
    assert failures.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not (tmp_path / "out.sdf.progress.json").exists()


def test_resuming_with_other_options_is_refused(tmp_path, model, monkeypatch):
    from ditkernels.models.generation import job

    def stop(outcome, *rest):
        if outcome.record.index == 1:
            raise OSError(28, "No space left on device")
        return usual(outcome, *rest)

    usual = job.sd_records
    monkeypatch.setattr(job, "sd_records", stop)
    assert run("CC", "CO", "-o", tmp_path / "out.sdf", "-n", 1, model=model)[0] == 1
    monkeypatch.undo()
    refused = run("CC", "CO", "-o", tmp_path / "out.sdf", "-n", 1, model=model)
    other = run("CC", "CO", "-o", tmp_path / "out.sdf", "-n", 1, "--seed", 1, "--resume", model=model)
    same = run("CC", "CO", "-o", tmp_path / "out.sdf", "-n", 1, "--resume", model=model)
    assert "belongs to an interrupted run; continue it with --resume" in refused[2]
    assert "belongs to another input, model or other options" in " ".join(other[2].split())
    assert (refused[0], other[0], same[0]) == (2, 2, 0)
