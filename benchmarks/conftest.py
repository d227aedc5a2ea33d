"""Collects what the benchmarks measure, prints it as tables at the end, and writes it to a file on request.

    pytest benchmarks                      all of it
    pytest benchmarks -k pair_attention    speed and memory of one operator
    pytest benchmarks -k so3               of the other
    pytest benchmarks -k sampling          networks
    pytest benchmarks --save-results       also write benchmarks/results/<device>.json

Sections that a run did not measure stay in the file as they were, with the date and machine they were measured on.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

import pytest

from benchmarks.environment import environment, result_name
from benchmarks.tables import as_text, tables

RESULTS = Path(__file__).parent / "results"


def pytest_addoption(parser):
    parser.addoption("--save-results", action="store_true", help="write benchmarks/results/<device>.json")


class Results:
    """Rows by section, each section with the environment it was measured in."""

    def __init__(self):
        self.sections: dict[str, dict] = {}

    def add(self, section: str, row: dict, **shared) -> None:
        """Append a row; `shared` are values of the whole section."""
        entry = self.sections.setdefault(section, {"environment": environment(), **shared, "rows": []})
        entry["rows"].append(row)

    def save(self, path: Path) -> None:
        kept = json.loads(path.read_text()) if path.exists() else {}
        path.parent.mkdir(exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(json.dumps({**kept, **self.sections}, indent=1) + "\n")
        os.replace(partial, path)


def pytest_configure(config):
    config.ditkernels_results = Results()
    # torch.compile keeps 8 graphs of a function, and goes on without compiling; every case needs one of its own.
    dynamo = importlib.import_module("torch._dynamo")
    dynamo.config.recompile_limit = 256
    dynamo.config.fail_on_recompile_limit_hit = True


@pytest.fixture
def results(pytestconfig) -> Results:
    return pytestconfig.ditkernels_results


@pytest.hookimpl(trylast=True)  # below the table of pytest-benchmark
def pytest_terminal_summary(terminalreporter, config):
    results = config.ditkernels_results
    if not results.sections:
        return
    for table in tables(results.sections):
        terminalreporter.write_line("")
        terminalreporter.write_line(as_text(table))
    if config.getoption("--save-results"):
        path = RESULTS / result_name()
        results.save(path)
        terminalreporter.write_line(f"\nwritten to {path}")
