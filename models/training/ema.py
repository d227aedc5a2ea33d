"""Exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class EMA:
    """``average <- d * average + (1 - d) * weights`` after every step, ``d = min(decay, (1 + step) / (10 + step))``:
    the average of a short run forgets its first weights, too. Without bias correction.

    network: a copy of the network that holds the average, in evaluation mode and without gradients.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._average = list(self.network.parameters())
        self._weights = list(network.parameters())

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after ``step``, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._average, self._weights, 1 - decay)
