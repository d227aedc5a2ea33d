"""Measures cases, prints them as tables at the end, and writes results where it is told to.

pytest benchmarks                        everything a CPU can do, half an hour and more
pytest benchmarks --selection core       what decides, a few minutes
pytest benchmarks -k "so3 and basis"     a part
pytest benchmarks --results out/bench    also write results, page and plots into a folder
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import result_files as results
from benchmarks.cases import SELECTIONS, every, select
from benchmarks.measure import ceilings
from benchmarks.measure.environment import environment, result_name

DEVICE = torch.device("cpu")


def pytest_addoption(parser):
    group = parser.getgroup("ditkernels")
    group.addoption("--selection", choices=SELECTIONS, default="full", help="which cases to measure (default: full)")
    group.addoption("--results", type=Path, metavar="FOLDER", help="write results, page and plots into a folder")


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        cases = select(metafunc.config.getoption("--selection"))
        metafunc.parametrize("case", cases, ids=lambda case: case.name.replace(" ", "-"))


def pytest_configure(config):
    config.ditkernels_records = []


@pytest.fixture
def records(pytestconfig) -> list[dict]:
    """Where the records of this run are collected."""
    return pytestconfig.ditkernels_records


@pytest.hookimpl(trylast=True)  # below the table of pytest-benchmark
def pytest_terminal_summary(terminalreporter, config):
    records = config.ditkernels_records
    if not records:
        return
    from benchmarks.report import page
    from benchmarks.report.tables import as_text, tables

    run = environment(DEVICE) | {"ceilings": ceilings.measured(DEVICE, {record["dtype"] for record in records})}
    found = results.merged(results.load(Path("none")), run, records)
    for table in tables(found):
        terminalreporter.write_line("")
        terminalreporter.write_line(as_text(table))
    if folder := config.getoption("--results"):
        path = folder / result_name(DEVICE)
        results.save(path, results.merged(results.load(path), run, records, every()))
        written = [path, *page.write(folder)]
        terminalreporter.write_line(f"\nwritten: {', '.join(map(str, written))}")
