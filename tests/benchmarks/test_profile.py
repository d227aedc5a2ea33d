"""The profile of sampling: its parts add up to a step, and each but the rest has a floor."""

from __future__ import annotations

import pytest

from benchmarks import sampling_profile
from benchmarks.measure import ceilings


@pytest.fixture
def rates(monkeypatch):
    for name in ("read_bandwidth", "copy_bandwidth"):
        monkeypatch.setattr(ceilings, name, lambda device: 1e10)
    monkeypatch.setattr(ceilings, "matmul_rate", lambda device, dtype: 1e11)


@pytest.mark.parametrize("name", ["ape-b", "rpe-b", "pe3-b"])
def test_parts_of_a_step(rates, name):
    row = sampling_profile.measure(name, 1, 7)
    parts = row["parts"]
    assert sum(part["ms"] for part in parts.values()) == pytest.approx(row["ms"])
    for part in ("attention", "matrix products", "atoms"):
        assert parts[part]["ms"] > 0 and parts[part]["floor_ms"] > 0
    assert parts["rest"]["floor_ms"] is None
    run = {"device": "X", "threads": 2, "torch": "2", "date": "2026-01-02"}
    text = sampling_profile.markdown({"run": run, "rows": [row]})
    assert f"| {name} | 1 × 7 |" in text and " %)" in text


def test_products_of_a_step_are_counted_from_the_shapes(rates):
    """Twice the width has about four times the operations."""
    small, large = (sampling_profile.measure(name, 1, 7)["parts"]["matrix products"] for name in ("ape-s", "ape-b"))
    assert large["floor_ms"] == pytest.approx(4 * small["floor_ms"], rel=0.1)
