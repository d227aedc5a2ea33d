"""What runs the cases: pytest, the script for a GPU, and the short table of `make run`."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import quick
from benchmarks import result_files as results
from benchmarks.cases import select
from benchmarks.gpu import run
from benchmarks.measure import ceilings, record

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")
CASES = select("smoke")[:3]


@pytest.mark.slow
def test_pytest_measures_prints_and_writes(tmp_path):
    command = [sys.executable, "-m", "pytest", "benchmarks", "--selection", "smoke", "-k", "2x5", "-q"]
    done = subprocess.run(
        [*command, "--results", str(tmp_path), "-p", "no:cacheprovider"], cwd=ROOT, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Targets" in done.stdout and "table, 2×5, forward+backward, float32" in done.stdout
    [path] = tmp_path.glob("cpu-*.json")
    found = results.load(path)
    assert len(found["cases"]) == 8 and all(case["run"] in found["runs"] for case in found["cases"])
    assert (tmp_path / "README.md").read_text().startswith("# Results")
    assert list((tmp_path / "plots").glob("*-roofline.png"))


def test_without_a_gpu_the_script_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert run.main(["--results", str(tmp_path)]) == run.NO_GPU == 4
    assert capsys.readouterr().err == (
        "There is no GPU that PyTorch can use here, so nothing was tested or measured.\n"
    )
    assert list(tmp_path.iterdir()) == []


def measured(case, device, strict):
    assert strict is False
    if case is CASES[1]:
        raise ArithmeticError("broken kernel")
    return record.measure(case, device, strict=strict)


@pytest.fixture
def known_ceilings(monkeypatch):
    monkeypatch.setattr(ceilings, "read_bandwidth", lambda device: 10e9)
    monkeypatch.setattr(ceilings, "copy_bandwidth", lambda device: 20e9)
    monkeypatch.setattr(ceilings, "matmul_rate", lambda device, dtype: 100e9)


def test_a_failing_case_ends_only_itself_and_the_file_is_written(tmp_path, capsys, known_ceilings):
    records = []
    assert run.run_cases(CASES, CPU, records, float("inf"), measured) == 1
    assert [found["name"] for found in records] == [CASES[0].name, CASES[2].name]
    run.write(tmp_path / "x.json", records, CPU)
    assert [case["name"] for case in results.load(tmp_path / "x.json")["cases"]] == [CASES[0].name, CASES[2].name]
    printed = capsys.readouterr().out
    assert "FAILED " + CASES[1].name + ": ArithmeticError: broken kernel" in printed and "Targets" in printed


def test_nothing_is_started_after_the_deadline(capsys):
    records = []
    assert run.run_cases(CASES, CPU, records, float("-inf"), measured) == 0 and records == []
    assert "3 cases were not measured: the time was over" in capsys.readouterr().out


def test_the_file_is_written_without_ceilings_where_the_device_is_lost(tmp_path, monkeypatch):
    def lost(device, dtypes):
        raise RuntimeError("device lost")

    monkeypatch.setattr(ceilings, "measured", lost)
    run.write(tmp_path / "x.json", [], CPU)
    assert results.load(tmp_path / "x.json")["cases"] == []


def test_the_short_table_has_a_line_for_a_case():
    name, lead, *numbers = quick.row(CASES[0])
    assert (name, lead) == (CASES[0].name, "cpu") and len(numbers) == 4
    assert all(name in {case.name for case in select("core")} for name in quick.CASES)
