"""What a generator of molecules says, before any chemistry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RawMolecule:
    """Heavy atoms and bonds as they were generated; nothing is completed or corrected.

    Attributes:
        elements: (n,) int64 atomic numbers, 0 = unknown.
        positions: (n, 3) float64 in Å.
        bonds: (m, 3) int64: atoms a < b, counted from 0, and order 1 to 3. Only rows that name two different
            existing atoms, each pair once.
        ambiguous: atoms whose element code was far from every code.
        dropped_bonds: bond rows that were discarded: self loops, atoms that do not exist, repeated pairs.
    """

    elements: np.ndarray
    positions: np.ndarray
    bonds: np.ndarray
    ambiguous: int = 0
    dropped_bonds: int = 0
