"""How many atoms a new molecule gets: the training data's histogram (EDM, arXiv 2203.17003)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def count_sizes(atom_counts: np.ndarray, labels: np.ndarray, classes: int, max_atoms: int) -> Tensor:
    """(classes, max_atoms + 1) float32: molecules of every label and number of atoms."""
    table = np.zeros((classes, max_atoms + 1), dtype=np.float32)
    np.add.at(table, (labels, atom_counts), 1)
    return torch.from_numpy(table)


def draw_size(sizes: Tensor, label: int | None, rng: np.random.Generator) -> int:
    """A number of atoms from the row of a label; without a label from all rows.

    Raises ValueError where the table counts no molecule (a network that was never trained).
    """
    weights = (sizes.sum(0) if label is None else sizes[label]).double().cpu().numpy()
    if not weights.sum() > 0:
        raise ValueError("the model has no histogram of sizes: it was not trained")
    return int(rng.choice(len(weights), p=weights / weights.sum()))
