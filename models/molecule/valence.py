"""How many hydrogens an atom lacks, by its valence alone."""

from __future__ import annotations

import numpy as np
from rdkit import Chem

RULES = ("smallest", "maximum")
"""``maximum``: fill up to the largest valence of the element (arXiv 2501.07077); it gives a thioether's sulfur two
hydrogens. ``smallest``: up to the smallest valence that the bonds leave room for."""

_VALENCES = {
    "H": (1,), "B": (3,), "C": (4,), "N": (3,), "O": (2,), "F": (1,), "Al": (3,), "Si": (4,), "P": (3, 5),
    "S": (2, 4, 6), "Cl": (1,), "As": (3,), "Br": (1,), "I": (1,), "Hg": (1, 2), "Bi": (3, 5),
}  # fmt: skip
_MAXIMUM = {"S": 4}
"""Largest valence of the paper's rule, where it is not that of the table above."""

VALENCES: dict[int, tuple[int, ...]] = {
    Chem.GetPeriodicTable().GetAtomicNumber(symbol): valences for symbol, valences in _VALENCES.items()
}
"""Valences of neutral atoms by atomic number, ascending."""

MAXIMUM: dict[int, int] = {
    number: _MAXIMUM.get(Chem.GetPeriodicTable().GetElementSymbol(number), valences[-1])
    for number, valences in VALENCES.items()
}


def missing_hydrogens(elements: np.ndarray, order_sums: np.ndarray, rule: str = "smallest") -> np.ndarray:
    """(n,) int64 number of hydrogens that each atom lacks; -1 where its bonds exceed every valence of the rule, or the
    element has none in the table.

    elements: (n,) atomic numbers. order_sums: (n,) sums of the orders of the bonds that an atom has.

    Raises ValueError for an unknown rule.
    """
    if rule not in RULES:
        raise ValueError(f"hydrogens must be one of {', '.join(RULES)}, got {rule!r}")
    found = []
    for number, used in zip(np.asarray(elements).tolist(), np.asarray(order_sums).tolist(), strict=True):
        allowed = VALENCES.get(number, ()) if rule == "smallest" else (MAXIMUM.get(number, -1),)
        found.append(next((valence - used for valence in allowed if valence >= used), -1))
    return np.array(found, dtype=np.int64)
