"""Memory for time: what a layer computes on its way is made again in the backward pass instead of kept."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable[..., Tensor], *arguments: object) -> Tensor:
    """``function(*arguments)``, of which the backward pass finds the arguments only: it calls the function again.

    The gradients are the same. The function draws no random numbers.
    """
    return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)
