"""Images to tokens and back, and the position codes of tokens (arXiv 2501.07077; arXiv 2212.09748)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def patchify(image: Tensor, rows: int) -> Tensor:
    """(B, C, I, W) to tokens (B, I / rows, C * rows * W): every token holds `rows` rows of all channels and columns."""
    batch, channels, height, width = image.shape
    split = image.reshape(batch, channels, height // rows, rows, width)
    return split.transpose(1, 2).reshape(batch, height // rows, channels * rows * width)


def unpatchify(tokens: Tensor, rows: int, width: int) -> Tensor:
    """Tokens (B, T, rows * W * C), channel fastest, to images (B, C, T * rows, W)."""
    batch, count, size = tokens.shape
    channels = size // (rows * width)
    split = tokens.reshape(batch, count * rows, width, channels)
    return split.permute(0, 3, 1, 2)


def line_positions(count: int, width: int) -> Tensor:
    """(count, width) float32: sin and cos of n w_k, w_k = 10000^(-2k/width), for the place n of a token in the list."""
    return _sincos(torch.arange(count, dtype=torch.float64), width).float()


def grid_positions(count: int, width: int) -> Tensor:
    """(count, width) float32 as released: tokens on a square grid, first half of the code from the column, second half
    from the row. The list of tokens is no grid; ``count`` must be a square.

    Raises ValueError if it is not.
    """
    side = math.isqrt(count)
    if side * side != count:
        raise ValueError(f"the layout code needs a square number of tokens, got {count}")
    place = torch.arange(count, dtype=torch.float64)
    column, row = place % side, place.div(side, rounding_mode="floor")
    return torch.cat((_sincos(column, width // 2), _sincos(row, width // 2)), dim=-1).float()


def _sincos(place: Tensor, width: int) -> Tensor:
    rates = 10000.0 ** (-2 * torch.arange(width // 2, dtype=torch.float64) / width)
    phase = place.unsqueeze(-1) * rates
    return torch.cat((phase.sin(), phase.cos()), dim=-1)
