"""``ditkernels train`` from the outside: files it writes, exit codes, Ctrl-C, several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import load_file

from ditkernels.cli.train import command
from ditkernels.models.training.checkpoint import list_checkpoints
from ditkernels.models.training.log import read_log

LAUNCH = "from ditkernels.cli.main import main; main()"


def arguments(config_file, output, *more):
    return ["train", str(config_file), "--output", str(output), *more]


def run_command(*arguments):
    result = CliRunner().invoke(command, [str(a) for a in arguments], standalone_mode=False)
    return result.return_value, result.output, result.exception


def test_a_run_writes_config_log_picture_report_and_checkpoints(config_file, tmp_path):
    output = tmp_path / "run"
    status, text, exception = run_command(config_file, "--output", output)
    assert (status, exception) == (0, None)
    assert {p.name for p in output.iterdir()} == {
        "config.yaml",
        "log.csv",
        "log.png",
        "data_report.json",
        "checkpoints",
    }
    assert "24 kept" in text and "finished" in text
    assert yaml.safe_load((output / "config.yaml").read_text())["schedule"]["steps"] == 9


def test_preprocess_only_reports_and_trains_nothing(config_file, tmp_path):
    status, text, _ = run_command(config_file, "--output", tmp_path / "run", "--preprocess-only")
    assert status == 0 and "cascade_extract.sdf: " in text and not (tmp_path / "run" / "checkpoints").exists()


def test_export_writes_the_kept_aside_molecules(config_file, tmp_path):
    output = tmp_path / "run"
    assert run_command(config_file, "--output", output, "--export", "validation")[0] == 0
    names = {path.name for path in output.glob("*.sdf")}
    assert names == {"qm9_extract_validation.sdf", "cascade_extract_validation.sdf"}
    assert (output / "qm9_extract_validation.sdf").read_text().count("$$$$") > 0


def test_plot_only_draws_an_existing_log(config_file, tmp_path):
    output = tmp_path / "run"
    run_command(config_file, "--output", output, "--set", "schedule.steps=2")
    (output / "log.png").unlink()
    assert run_command(config_file, "--output", output, "--plot-only")[0] == 0
    assert (output / "log.png").exists()


def test_errors_of_the_user_are_sentences(config_file, tmp_path):
    assert "unknown key 'stepz'" in str(run_command(config_file, "--set", "stepz=3")[2])
    missing = run_command(config_file, "--output", tmp_path, "--set", "data.sources=[{path: none.sdf}]")[2]
    assert "none.sdf does not exist" in str(missing)


def test_ctrl_c_saves_and_exits_130(config_file, tmp_path):
    output = tmp_path / "run"
    call = arguments(config_file, output, "--set", "schedule.steps=100000", "--set", "log.every=1")
    process = subprocess.Popen([sys.executable, "-c", LAUNCH, *call], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not read_log(output / "log.csv") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    step = int(list_checkpoints(output / "checkpoints")[-1].name[5:])
    assert f"interrupted after step {step}" in errors and "--resume" in errors
    assert read_log(output / "log.csv")[-1]["step"] == str(step)


def test_two_processes_equal_one_with_two_micro_batches(config_file, tmp_path):
    call = ["--set", "validation.every=0", "--set", "schedule.steps=4", "--set", "log.every=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    status = run_command(config_file, "--output", tmp_path / "one", *call, "--set", "accumulate=2")[0]
    assert status == 0
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    launch = [sys.executable, *torchrun, sys.executable, "-c", LAUNCH]
    two = subprocess.run(
        [*launch, *arguments(config_file, tmp_path / "two", *call)], env=environment, capture_output=True, text=True
    )
    assert two.returncode == 0, two.stderr[-2000:]
    one, both = (read_log(tmp_path / name / "log.csv") for name in ("one", "two"))
    assert [row["molecules"] for row in one] == [row["molecules"] for row in both]
    for a, b in zip(one, both, strict=True):
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-4)
    weights = (
        load_file(list_checkpoints(tmp_path / name / "checkpoints")[-1] / "model.safetensors")
        for name in ("one", "two")
    )
    a, b = weights
    assert all(torch.allclose(a[key], b[key], atol=1e-4) for key in a)
