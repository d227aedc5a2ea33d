"""Metrics of samples that need not be molecules."""

from __future__ import annotations

import numpy as np
import pytest

from ditkernels.models.metrics.raw import measure_raw
from ditkernels.models.molecule.raw import RawMolecule

APART = np.array([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
TRIANGLE = 1.5 * np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.75**0.5, 0.0]])
CHAIN, RING = [(0, 1, 1), (1, 2, 1)], [(0, 1, 1), (0, 2, 1), (1, 2, 3)]


def carbons(positions, bonds):
    return RawMolecule(np.full(len(positions), 6), positions, np.array(bonds, dtype=np.int64).reshape(-1, 3))


def test_parts_and_rings_of_the_graph():
    samples = [(carbons(APART, CHAIN), "acyclic"), (carbons(APART, RING), "acyclic"), (carbons(APART, []), "acyclic")]
    row = measure_raw(samples)
    assert row["connected"] == pytest.approx(2 / 3)
    assert row["class_rows"] == pytest.approx(2 / 3)
    assert measure_raw([(carbons(APART, RING), "cyclic")])["class_rows"] == 1.0


def test_bonds_and_distances():
    """In the triangle EDM's ruler sees three single bonds, in the atoms far apart none."""
    assert measure_raw([(carbons(TRIANGLE, RING), "")])["agreement"] == 1.0
    assert measure_raw([(carbons(TRIANGLE, RING), "")])["order_agreement"] == pytest.approx(2 / 3)
    row = measure_raw([(carbons(TRIANGLE, CHAIN), ""), (carbons(APART, CHAIN), "")])
    assert row["agreement"] == pytest.approx((2 / 3 + 0) / 2) and row["order_agreement"] == 1.0


def test_nothing_to_measure():
    assert measure_raw([]) == {}
    row = measure_raw([(carbons(APART, []), "")])
    assert row["class_rows"] is None and row["order_agreement"] is None and row["agreement"] == 1.0
    assert measure_raw([(carbons(APART[:0], []), "")])["connected"] == 0.0
