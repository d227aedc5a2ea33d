"""Clipping of gradients, and what happens when they are not finite."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from ditkernels.models.training.config import OptimizerConfig


class NonFiniteGradients(RuntimeError):
    """Raised by the policy ``error``."""


def condition_gradients(parameters: Iterable[nn.Parameter], config: OptimizerConfig) -> tuple[torch.Tensor, bool, bool]:
    """Apply the policy for non-finite gradients, then the clipping, in place.

    Returns (gradient norm before clipping, whether all entries were finite, whether to take the step). Raises
    NonFiniteGradients under the policy ``error``.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    finite = bool(torch.isfinite(norm))
    if not finite:
        if config.nan_gradients == "error":
            raise NonFiniteGradients("a gradient is not finite and optimizer.nan_gradients is error")
        if config.nan_gradients == "skip":
            return norm, False, False
        for gradient in gradients:
            gradient.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        norm = torch.nn.utils.get_total_norm(gradients)
    if config.clip_norm is not None:
        scale = (config.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, scale)
    return norm, finite, True
