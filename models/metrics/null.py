"""Molecules without any chemistry, which every ruler must tell from real ones: the null row of all tables."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

SIGMA = 1.5
"""Å; about the spread of the coordinates of QM9's heavy atoms."""


def noise_molecules(
    count: int, sizes: np.ndarray, elements: np.ndarray, seed: int = 0, sigma: float = SIGMA
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Elements (n,) and positions (n, 3) in Å of ``count`` molecules of Gaussian noise.

    sizes: numbers of atoms to draw from. elements: atomic numbers to draw from, each with the frequency wanted.
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        n = int(rng.choice(sizes))
        yield rng.choice(elements, size=n), rng.normal(scale=sigma, size=(n, 3))
