"""Every case of the selection is one benchmark; see conftest.py for how to run it."""

from __future__ import annotations

import math

from benchmarks.cases import Case
from benchmarks.conftest import DEVICE
from benchmarks.measure.record import measure
from benchmarks.measure.turns import Times, Turns

LARGEST_ERROR = {"float64": 1e-10, "float32": 1e-3}
"""Above it a number is not worth a table; half precision is compared with the reference in half precision."""


def test_case(case: Case, request, records):
    def drive(turns: Turns) -> Times:
        """pytest-benchmark keeps its own statistics of the lead; the others run in its set-up."""
        benchmark = request.getfixturevalue("benchmark")
        benchmark.group = f"{case.operator}, {turns.lead}"
        benchmark.pedantic(turns.lead_turn, setup=turns.others, rounds=turns.rounds)
        return turns.times

    record = measure(case, DEVICE, drive)
    records.append(record)
    reference = record["results"]["eager"]
    for name in {record["auto"], "eager"}:
        row = record["results"][name]
        if "ms" in row:
            assert row["ms"] > 0
        if row.get("error") is not None:
            assert math.isfinite(row["error"])
            assert row["error"] <= LARGEST_ERROR.get(case.dtype, 2 * reference["error"])
