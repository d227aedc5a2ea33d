"""Embeddings of time and atoms (spec of the released model: sections 2.1 and 2.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ditkernels.models.ditmc.layers import MLP

ELEMENTS = 119
"""Rows of the element table: atomic numbers 0 to 118."""


class TimeEmbedding(nn.Module):
    r"""Time vector :math:`c^t = W_2\,\mathrm{silu}(W_1 f + b_1) + b_2` (eq. 7) on learned Fourier features.

    :math:`f = (\cos 2\pi t b_1, \sin 2\pi t b_1, \cos 2\pi t b_2, \dots)` with F/4 trainable frequencies b.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(width // 4))
        self.mlp = MLP(width // 2, width, width)

    def forward(self, t: Tensor) -> Tensor:
        """Times (B,) in [0, 1] to vectors (B, F)."""
        phase = 2 * math.pi * t.unsqueeze(-1) * self.frequencies
        features = torch.stack((phase.cos(), phase.sin()), dim=-1).flatten(-2)
        return self.mlp(features)


class AtomEmbedding(nn.Module):
    """Initial atom state: element table, plus absolute positions, fed-back estimate and index code where asked for.

    Args:
        width: features F.
        absolute: add ``MLP(r_i)`` without biases (aPE, eq. 14); positions are centered by the caller.
        self_conditioning: add ``MLP(x1_i)`` without biases.
        index_encoding: add sin and cos of ``n * pi / 256^(2k/F)`` with n the atom's index in its molecule.
    """

    def __init__(self, width: int, *, absolute: bool, self_conditioning: bool, index_encoding: bool) -> None:
        super().__init__()
        self.elements = nn.Embedding(ELEMENTS, width)
        self.position = MLP(3, width, width, bias=False) if absolute else None
        self.feedback = MLP(3, width, width, bias=False) if self_conditioning else None
        rates = math.pi / 256 ** (2 * torch.arange(width // 2) / width) if index_encoding else None
        self.register_buffer("index_rates", rates, persistent=False)

    def forward(
        self, atomic_numbers: Tensor, positions: Tensor, x1_previous: Tensor | None, index: Tensor | None
    ) -> Tensor:
        """Atom states (T, F).

        Args:
            atomic_numbers: (T,).
            positions: centered, (T, 3) in Å.
            x1_previous: earlier estimate (T, 3) in Å, or None for zeros.
            index: (T,) place of each atom in its molecule; needed with ``index_encoding`` only.
        """
        state = self.elements(atomic_numbers)
        if self.position is not None:
            state = state + self.position(positions)
        if self.feedback is not None:
            state = state + self.feedback(torch.zeros_like(positions) if x1_previous is None else x1_previous)
        if self.index_rates is not None:
            phase = index.unsqueeze(-1).to(positions.dtype) * self.index_rates.to(positions.dtype)
            state = state + torch.cat((phase.sin(), phase.cos()), dim=-1)
        return state
