"""SO(3)-equivariant attention on noisy atoms: what D3MES describes (arXiv 2501.07077), on the fused operator.

Features are irreps 0+, 1- and 2+ of every atom, coupled by natural parity alone, so that reflections are respected as
rotations are. Distances are in Å.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ditkernels.nn import EquivariantLayerNorm, EquivariantLinear, SO3Attention
from ditkernels.so3 import Irreps

IRREPS = Irreps.natural(2)


class SO3Layer(nn.Module):
    r"""One layer of attention with self-interaction, one pair of matrices per degree l:

    .. math:: f'_l = W_l\,[z_l; f_l], \qquad z = \mathrm{SO3Attention}(\mathrm{ELN}(f))

    (SE(3)-Transformer, arXiv 2006.10503, eq. 12, with depthwise filters.) ``W`` on z is the output layer of the
    attention.
    """

    def __init__(self, channels: int, heads: int, basis_size: int, cutoff: float) -> None:
        super().__init__()
        self.norm = EquivariantLayerNorm(IRREPS)
        self.attention = SO3Attention(
            IRREPS,
            IRREPS,
            channels,
            heads,
            filter_degrees=3,
            basis_size=basis_size,
            radial="gaussian",
            cutoff=cutoff,
        )
        self.own = EquivariantLinear(IRREPS, channels, channels, bias=False)

    def forward(self, x: Tensor, positions: Tensor, cu_seqlens: Tensor, impl: str) -> Tensor:
        """x (T, 9, C), positions (T, 3) in Å; (T, 9, C)."""
        attended = self.attention(self.norm(x), positions, cu_seqlens=cu_seqlens, exclude_self=True, impl=impl)
        return attended + self.own(x)


class SO3Encoder(nn.Module):
    """Noisy atoms to invariants and vectors.

    invariants: numbers per atom that come in. channels, heads, layers, basis_size, cutoff: of the attention.
    """

    def __init__(self, invariants: int, channels: int, heads: int, layers: int, basis_size: int, cutoff: float) -> None:
        super().__init__()
        self.scalars = nn.Linear(invariants, channels)
        self.vectors = nn.Parameter(torch.empty(channels))
        self.layers = nn.ModuleList(SO3Layer(channels, heads, basis_size, cutoff) for _ in range(layers))

    def reset_parameters(self) -> None:
        nn.init.normal_(self.vectors)

    def forward(
        self, invariants: Tensor, positions: Tensor, scale: float, cu_seqlens: Tensor, impl: str
    ) -> tuple[Tensor, Tensor]:
        """Atoms of ragged molecules to their scalars (T, C) and vectors (T, 3, C).

        invariants: (T, F). positions: (T, 3), centred, in units of ``scale`` Å.
        """
        scalars = self.scalars(invariants).unsqueeze(-2)
        vectors = positions.unsqueeze(-1) * self.vectors
        tensors = scalars.new_zeros(*scalars.shape[:-2], 5, scalars.shape[-1])
        state = torch.cat((scalars, vectors, tensors), dim=-2)
        for layer in self.layers:
            state = layer(state, positions * scale, cu_seqlens, impl)
        return state[..., 0, :], state[..., 1:4, :]
