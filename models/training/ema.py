"""Exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class EMA:
    """``average <- decay * average + (1 - decay) * weights`` after every step, from step 0, without bias correction.

    network: a copy of the network that holds the average, in evaluation mode and without gradients.
    """

    def __init__(self, network: nn.Module, decay: float):
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._average = list(self.network.parameters())
        self._weights = list(network.parameters())

    @torch.no_grad()
    def update(self) -> None:
        torch._foreach_lerp_(self._average, self._weights, 1 - self.decay)
