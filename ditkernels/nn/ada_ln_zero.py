"""Adaptive layer normalisation with a zero start (DiT, arXiv 2212.09748, section 3.2; used by arXiv 2506.15378)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def layer_norm(dim: int, eps: float = 1e-6) -> nn.LayerNorm:
    """The layer norm that goes with AdaLN: without scale and shift of its own, because the condition gives them."""
    return nn.LayerNorm(dim, eps=eps, elementwise_affine=False)


def modulate(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x * (1 + scale) + shift; all tensors (..., dim), broadcasting."""
    return x * (1.0 + scale) + shift


class AdaLNZero(nn.Module):
    """Scales, shifts and gates of a transformer block from its condition: chunks of ``silu(c) @ W + bias``.

    W and bias start at zero: every modulation is then the identity, every gate closed, and a residual block passes its
    input through.

    dim: channels of each chunk
    condition_dim: channels of the condition c
    chunks: number of tensors; 6 for a block of attention and MLP (scale, shift, gate each)
    """

    def __init__(self, dim: int, condition_dim: int, chunks: int = 6):
        super().__init__()
        if chunks < 1:
            raise ValueError(f"chunks must be at least 1, got {chunks}")
        self.chunks = chunks
        self.linear = nn.Linear(condition_dim, chunks * dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, condition: Tensor) -> tuple[Tensor, ...]:
        """condition: (..., condition_dim). Returns ``chunks`` tensors (..., dim)."""
        return self.linear(F.silu(condition)).chunk(self.chunks, dim=-1)
