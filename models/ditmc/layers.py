"""Small building blocks shared by the modules of DiTMC."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LAYER_NORM_EPS = 1e-6
"""Epsilon of every LayerNorm; the released weights were trained with it."""

_TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a unit normal truncated to [-2, 2]."""


def truncated_normal_(tensor: Tensor, std: float) -> Tensor:
    """Fill with a normal truncated at two standard deviations, rescaled to have standard deviation ``std``."""
    nn.init.trunc_normal_(tensor, std=1.0, a=-2.0, b=2.0)
    with torch.no_grad():
        return tensor.mul_(std / _TRUNCATED_STD)


def lecun_(linear: nn.Linear) -> None:
    """LeCun-normal weights (variance 1/fan_in, truncated) and zero bias, in place."""
    truncated_normal_(linear.weight, math.sqrt(1.0 / linear.in_features))
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)


def affine_layer_norm(width: int) -> nn.LayerNorm:
    """LayerNorm with scale and shift; the one without is :func:`ditkernels.nn.layer_norm`, of the same epsilon."""
    return nn.LayerNorm(width, eps=LAYER_NORM_EPS)


class MLP(nn.Sequential):
    """Two dense layers: ``W2 act(W1 x + b1) + b2``.

    Args:
        inputs, hidden, outputs: widths.
        bias: whether both layers have one.
        activation: SiLU unless given.
    """

    def __init__(
        self, inputs: int, hidden: int, outputs: int, *, bias: bool = True, activation: nn.Module | None = None
    ) -> None:
        super().__init__(
            nn.Linear(inputs, hidden, bias=bias),
            activation if activation is not None else nn.SiLU(),
            nn.Linear(hidden, outputs, bias=bias),
        )
