"""Result files: one JSON for each device, `benchmarks/results/<device>.json`.

    {"runs": {id: environment and ceilings}, "cases": [record, ...]}

Every record names the run that measured it. A new run replaces the records of the cases that it measured and leaves the
others, with their run, as they are; so it does with contestants that it left out because they take long.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from benchmarks.contestants.contestant import LEFT_OUT

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def load(path: Path) -> dict:
    """A result file; an empty one if there is none."""
    return json.loads(path.read_text()) if path.exists() else {"runs": {}, "cases": []}


def merged(old: dict, run: dict, records: Iterable[dict], order: Iterable[str] = ()) -> dict:
    """`old` with the records of a run in it. Runs that no record names any more are left out.

    order: names of cases in the order in which they shall stand; others follow
    """
    name = f"{run['date']} {run['time']}"
    before = {record["name"]: record for record in old["cases"]}
    new = [_with_left_out({**record, "run": name}, before.get(record["name"])) for record in records]
    measured = {record["name"] for record in new}
    cases = [record for record in old["cases"] if record["name"] not in measured] + new
    places = {case: place for place, case in enumerate(order)}
    cases.sort(key=lambda record: places.get(record["name"], len(places)))
    runs = {**old["runs"], name: run}
    used = {run for record in cases for run in _runs(record)}
    return {"runs": {key: value for key, value in runs.items() if key in used}, "cases": cases}


def _with_left_out(record: dict, before: dict | None) -> dict:
    """A record with the numbers of contestants that its run left out and an earlier run measured, named with that."""
    if before is None:
        return record
    found = dict(record["results"])
    for name, row in record["results"].items():
        earlier = before["results"].get(name, {})
        if row.get("absent") == LEFT_OUT and "ms" in earlier:
            found[name] = {"run": before["run"], **earlier}
    return {**record, "results": found}


def _runs(record: dict) -> set[str]:
    return {record["run"], *(row["run"] for row in record["results"].values() if "run" in row)}


def save(path: Path, results: dict) -> None:
    """Write a file with a record on each line, so that a difference of two versions can be read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    runs = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in results["runs"].items())
    cases = ",\n".join(f"  {json.dumps(_rounded(record))}" for record in results["cases"])
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(f'{{\n "runs": {{\n{runs}\n }},\n "cases": [\n{cases}\n ]\n}}\n')
    os.replace(partial, path)


def _rounded(value):
    """Numbers to six digits: the clock has no more."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return value
