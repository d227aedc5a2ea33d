"""Ragged batches, and the same rows padded."""

from __future__ import annotations

import torch
from torch import Tensor


def boundaries(sizes: list[int]) -> Tensor:
    """cu_seqlens of molecules of these sizes."""
    return torch.tensor([0, *sizes]).cumsum(0).to(torch.int32)


def pad(rows: Tensor, sizes: list[int], squares: bool) -> Tensor:
    """Ragged rows (T, ...) -> (B, N, ...) or (P, ...) -> (B, N, N, ...); the rest is NaN, True or out of range."""
    size = max(sizes)
    poison = float("nan") if rows.is_floating_point() else 1 if rows.dtype == torch.bool else 99
    padded = rows.new_full((len(sizes), *([size] * (1 + squares)), *rows.shape[1:]), poison)
    for b, part in enumerate(rows.split([n * n if squares else n for n in sizes])):
        n = sizes[b]
        if squares:
            padded[b, :n, :n] = part.reshape(n, n, *rows.shape[1:])
        else:
            padded[b, :n] = part
    return padded
