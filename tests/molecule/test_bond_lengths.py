"""Bond orders from distances: the table of lengths, the margins, and what is nested in what."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from ditkernels.models.molecule.bond_lengths import (
    MARGINS,
    bond_orders,
    distances,
    shortest_lengths,
    typical_lengths,
)

# Typical lengths in pm as EDM (arXiv 2203.17003) prints them, by pair.
SINGLE = {
    **{"HH": 74, "HC": 109, "HN": 101, "HO": 96, "HF": 92, "HCl": 127, "HSi": 148, "HS": 134, "HI": 161},
    **{"CC": 154, "CN": 147, "CO": 143, "CF": 135, "CS": 182, "CCl": 177, "CP": 184, "CI": 214, "CSi": 185},
    **{"NN": 145, "NO": 140, "NF": 136, "NS": 168, "OO": 148, "OF": 142, "OP": 163, "OS": 151, "FF": 142},
    **{"BCl": 175, "SiSi": 233, "ClCl": 199, "SS": 204, "BrBr": 228, "PP": 221, "II": 266, "SP": 210},
}
DOUBLE = {"CC": 134, "CN": 129, "CO": 120, "CS": 160, "NN": 125, "NO": 121, "OO": 121, "OP": 150, "PS": 186}
TRIPLE = {"CC": 120, "CN": 116, "CO": 113, "NN": 110}


def numbers(pair: str) -> list[int]:
    split = next(k for k in range(1, len(pair)) if pair[k].isupper())
    return [Chem.GetPeriodicTable().GetAtomicNumber(symbol) for symbol in (pair[:split], pair[split:])]


def order_at(pair: str, distance: float, margins=MARGINS) -> int:
    """distance in pm."""
    return int(bond_orders(np.array(numbers(pair)), np.array([[0, 0, 0], [0, 0, distance / 100]]), margins)[0, 1])


@pytest.mark.parametrize(("order", "published"), list(enumerate((SINGLE, DOUBLE, TRIPLE), start=1)))
def test_lengths_are_the_published_ones_both_ways_round(order, published):
    table = typical_lengths()[order - 1]
    for pair, length in published.items():
        first, second = numbers(pair)
        assert table[first, second] == table[second, first] == length
    assert np.array_equal(table, table.T)
    if order > 1:
        assert np.count_nonzero(np.triu(table)) == len(published)


def test_a_higher_order_is_shorter():
    single, double, triple = typical_lengths()
    assert (single[double > 0] > double[double > 0]).all() and (double[triple > 0] > triple[triple > 0]).all()


@pytest.mark.parametrize(
    ("pair", "bounds"),
    [("CC", (164, 139, 123)), ("CN", (157, 134, 119)), ("NN", (155, 130, 113)), ("CO", (153, 125, 116))],
)
def test_orders_change_at_length_plus_margin(pair, bounds):
    for order, bound in enumerate(bounds, start=1):
        assert order_at(pair, bound - 0.01) == order
        assert order_at(pair, bound + 0.01) == order - 1


def test_no_margins_cut_at_the_length_itself():
    assert [order_at("CC", d, (0, 0, 0)) for d in (154.1, 153.9, 133.9, 119.9)] == [0, 1, 2, 3]


def test_a_pair_without_a_double_bond_stays_single_however_short():
    assert order_at("CF", 60) == order_at("HH", 30) == 1


def test_a_pair_without_any_length_is_no_bond():
    assert order_at("BrI", 100) == 0
    orders = bond_orders(np.array([6, 0]), np.array([[0.0, 0, 0], [1.2, 0, 0]]))
    assert not orders.any()


def test_orders_are_symmetric_and_atoms_are_not_bonded_to_themselves():
    rng = np.random.default_rng(0)
    orders = bond_orders(rng.choice([1, 6, 7, 8], 20), rng.normal(size=(20, 3)))
    assert orders.dtype == np.int64 and orders.any()
    assert np.array_equal(orders, orders.T) and not orders.diagonal().any()


def test_sizes_without_pairs():
    assert bond_orders(np.zeros(0, int), np.zeros((0, 3))).shape == (0, 0)
    assert bond_orders(np.array([6]), np.zeros((1, 3))).tolist() == [[0]]


def test_the_shortest_length_is_that_of_the_highest_order():
    lengths = shortest_lengths(np.array([6, 7, 9, 0]))
    assert np.allclose(lengths[0], [1.20, 1.16, 1.35, 0.0])
    assert np.array_equal(lengths, lengths.T)


def test_distances():
    assert np.allclose(distances(np.array([[0.0, 0, 0], [3, 4, 0]])), [[0, 5], [5, 0]])
