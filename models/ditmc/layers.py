"""Small building blocks shared by the modules of DiTMC."""

from __future__ import annotations

import math

from torch import Tensor, nn

from ditkernels.nn import recomputed, truncated_normal_

LAYER_NORM_EPS = 1e-6
"""Epsilon of every LayerNorm; the released weights were trained with it."""


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

    Attributes:
        recompute: whether the backward pass makes the hidden layer again instead of keeping it; False.
    """

    recompute = False

    def __init__(
        self, inputs: int, hidden: int, outputs: int, *, bias: bool = True, activation: nn.Module | None = None
    ) -> None:
        super().__init__(
            nn.Linear(inputs, hidden, bias=bias),
            activation if activation is not None else nn.SiLU(),
            nn.Linear(hidden, outputs, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (..., inputs) to (..., outputs)."""
        return recomputed(super().forward, x) if self.recompute else super().forward(x)
