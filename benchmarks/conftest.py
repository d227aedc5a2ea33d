"""Collects what the benchmarks measure, prints it as tables at the end, and writes it to a file on request.

    pytest benchmarks                      all of it
    pytest benchmarks -k pair_attention    speed and memory of the operator
    pytest benchmarks --save-results       also write benchmarks/results/<device>.json

Sections that a run did not measure stay in the file as they were, with the date and machine they were measured on.
"""

from __future__ import annotations

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
