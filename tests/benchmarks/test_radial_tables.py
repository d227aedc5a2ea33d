"""The tables that benchmarks/radial_tables.py measures hold what they should."""

import pytest
import torch

from benchmarks import radial_tables
from benchmarks.radial_tables import CLASSES, FUNCTIONS, LARGEST_TAU, NODES, Radial, Table


def error(nodes: int) -> float:
    """Largest error on a fine grid over the largest weight, in float64."""
    torch.manual_seed(0)
    radial = Radial.random(channels=4)
    radial = Radial(radial.weight.double(), radial.scaling.double())
    table, tau, worst, largest = Table(radial, nodes), torch.linspace(0, LARGEST_TAU, 997).double(), 0.0, 0.0
    for hop in range(CLASSES):
        found = torch.cat(table(tau, torch.full((len(tau),), hop)), dim=1)
        exact = radial.exact(tau, hop)
        worst, largest = max(worst, float((found - exact).abs().max())), max(largest, float(exact.abs().max()))
    return worst / largest


def test_the_error_falls_with_the_fourth_power_of_the_step():
    coarse, fine = error(NODES), error(2 * NODES - 1)
    assert coarse < 1e-3
    assert coarse / fine == pytest.approx(16, rel=0.2)


def test_beyond_the_table_is_refused():
    with pytest.raises(ValueError, match="tau must be at most 0.96"):
        Table(Radial.random(channels=4))(torch.tensor([0.97]), torch.zeros(1))


def test_both_ways_agree(monkeypatch):
    monkeypatch.setattr(radial_tables, "CHANNELS", 16)
    monkeypatch.setattr(radial_tables.Radial, "random", lambda: Radial(*_narrow()))
    best, found = radial_tables.measure(2, 7, rounds=1)
    assert len(best) == 5 and max(best.values()) < float("inf") and found < 1e-3


def _narrow():
    weight = torch.randn(FUNCTIONS, 6, 16) * FUNCTIONS**-0.5
    return weight, 1 + 0.3 * torch.randn(CLASSES, 2, FUNCTIONS)
