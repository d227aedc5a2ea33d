"""Bond orders from distances, by the table of typical bond lengths that generated molecules are measured with.

The table and the margins are those of EDM (Hoogeboom et al., arXiv 2203.17003), so that numbers can be compared with
published ones; lengths in pm, symmetric in the two elements.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from rdkit import Chem

MARGINS = (10, 5, 3)
"""pm that a distance may exceed the typical single, double and triple bond by (EDM)."""

_SINGLE = """
H: H 74 C 109 N 101 O 96 F 92 B 119 Si 148 P 144 As 152 S 134 Cl 127 Br 141 I 161
C: C 154 N 147 O 143 F 135 Si 185 P 184 S 182 Cl 177 Br 194 I 214
N: N 145 O 140 F 136 Cl 175 Br 214 S 168 I 222 P 177
O: O 148 F 142 Br 172 S 151 P 163 Si 163 Cl 164 I 194
F: F 142 S 158 Si 160 Cl 166 Br 178 P 156 I 187
B: Cl 175
Si: Si 233 S 200 Cl 202 Br 215 I 243
Cl: Cl 199 P 203 S 207 Br 214
S: S 204 Br 225 P 210 I 234
Br: Br 228 P 222
P: P 221
I: I 266
"""
_DOUBLE = """
C: C 134 N 129 O 120 S 160
N: N 125 O 121
O: O 121 P 150
P: S 186
"""
_TRIPLE = """
C: C 120 N 116 O 113
N: N 110
"""

ELEMENTS = 119
"""Atomic numbers 0 to 118; 0 stands for an unknown element, which bonds with nothing."""


@cache
def typical_lengths() -> np.ndarray:
    """(3, 119, 119) typical length in pm of a bond of order 1, 2 and 3 between two elements; 0 where there is none."""
    table = np.zeros((3, ELEMENTS, ELEMENTS))
    number = Chem.GetPeriodicTable().GetAtomicNumber
    for lengths, text in zip(table, (_SINGLE, _DOUBLE, _TRIPLE), strict=True):
        for line in text.strip().splitlines():
            first, _, rest = line.partition(":")
            words = rest.split()
            for second, length in zip(words[::2], words[1::2], strict=True):
                lengths[number(first), number(second)] = lengths[number(second), number(first)] = float(length)
    return table


def bond_orders(elements: np.ndarray, positions: np.ndarray, margins: tuple[float, ...] = MARGINS) -> np.ndarray:
    """(n, n) int64 symmetric matrix of bond orders 0 to 3 by distance.

    Order 1 below the typical length of a single bond plus its margin; of those, order 2 below that of a double bond
    plus its margin; of those, order 3 likewise. Pairs without an entry have the order that came before.

    elements: (n,) atomic numbers. positions: (n, 3) in Å. margins: pm.
    """
    elements = np.asarray(elements)
    distance = 100 * distances(positions)
    orders = np.zeros(distance.shape, dtype=np.int64)
    passed = ~np.eye(len(elements), dtype=bool)
    for order, (lengths, margin) in enumerate(zip(typical_lengths(), margins, strict=True), start=1):
        typical = lengths[np.ix_(elements, elements)]
        passed = passed & (typical > 0) & (distance < typical + margin)
        orders[passed] = order
    return orders


def shortest_lengths(elements: np.ndarray) -> np.ndarray:
    """(n, n) shortest typical bond length of each pair in Å; 0 where the elements have none."""
    lengths = typical_lengths()[:, np.asarray(elements)][:, :, np.asarray(elements)]
    known = np.where(lengths > 0, lengths, np.inf).min(axis=0)
    return np.where(np.isfinite(known), known, 0.0) / 100


def distances(positions: np.ndarray) -> np.ndarray:
    """(n, n) distances of positions (n, 3)."""
    return np.linalg.norm(positions[:, None] - positions[None], axis=-1)
