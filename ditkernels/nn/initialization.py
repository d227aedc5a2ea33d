"""Initial weights that layers share: normal distributions cut at two standard deviations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a unit normal truncated to [-2, 2]."""


def truncated_normal_(tensor: Tensor, std: float) -> Tensor:
    """Fill with a normal truncated at two standard deviations, rescaled to have standard deviation ``std``."""
    nn.init.trunc_normal_(tensor, std=1.0, a=-2.0, b=2.0)
    with torch.no_grad():
        return tensor.mul_(std / _TRUNCATED_STD)
