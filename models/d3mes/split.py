"""The one split of a source into training, validation and test molecules."""

from __future__ import annotations

import numpy as np

TRAIN, VALIDATION = 100_000, 17_748
"""Sizes of EDM's split of QM9 (arXiv 2203.17003); the rest is the test set."""


def split_rows(entries: int, train: int = TRAIN, validation: int = VALIDATION, seed: int = 0) -> dict[str, np.ndarray]:
    """Record numbers 0 ... entries - 1 of a source (in ascending order) by the name of their part, each ascending.

    ``numpy.random.RandomState(seed).permutation``: the first `train`, the next `validation`, the rest for the test.

    Raises ValueError if the source has no records beyond them.
    """
    if min(train, validation) < 0 or train + validation >= entries:
        raise ValueError(
            f"a split into {train} training and {validation} validation molecules leaves none of {entries} for the test"
        )
    order = np.random.RandomState(seed).permutation(entries)
    bounds = {"train": (0, train), "validation": (train, train + validation), "test": (train + validation, entries)}
    return {name: np.sort(order[start:stop]) for name, (start, stop) in bounds.items()}
