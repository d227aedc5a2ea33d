"""The elements that an image can hold, and the digits that stand for them in the released program (arXiv 2501.07077).

The released codes are not at equal distances (QM9's F is C + N + O), and F has another one in each book.
"""

from __future__ import annotations

ATOMIC_NUMBERS = {
    **{"B": 5, "C": 6, "N": 7, "O": 8, "F": 9, "Al": 13, "Si": 14, "P": 15, "S": 16, "Cl": 17},
    **{"As": 33, "Se": 34, "Br": 35, "Te": 52, "I": 53, "Hg": 80, "Bi": 83},
}
"""Heavy elements by symbol."""

QM9_CODES = {"C": (1, 0, 0), "N": (0, 1, 0), "O": (0, 0, 1), "F": (1, 1, 1)}

DRUGS_CODES = {
    **{"C": (1, 0, 0), "N": (0, 1, 0), "O": (0, 0, 1), "F": (1, 1, 0), "P": (1, 0, 1), "S": (0, 1, 1)},
    **{"Cl": (1, 1, 1), "Br": (2, 0, 0), "I": (0, 2, 0), "Al": (0, 0, 2), "Si": (2, 2, 0), "As": (2, 0, 2)},
    **{"Se": (0, 2, 2), "Te": (2, 2, 2), "Hg": (0, 0, 3), "Bi": (0, 3, 0)},
}


def released_codes(elements: tuple[str, ...]) -> dict[str, tuple[int, int, int]]:
    """Digits of every element, from QM9's book where it has all of them, else from that of GEOM-Drugs.

    Raises ValueError for an element that neither has.
    """
    book = QM9_CODES if set(elements) <= set(QM9_CODES) else DRUGS_CODES
    without = [symbol for symbol in elements if symbol not in book]
    if without:
        raise ValueError(f"model config: elements has no code in layout code for {', '.join(without)}")
    return {symbol: book[symbol] for symbol in elements}
