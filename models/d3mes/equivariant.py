"""SO(3)-equivariant attention on noisy atoms: what D3MES describes (arXiv 2501.07077), on the fused operator.

Features are irreps 0+, 1- and 2+ of every atom, coupled by natural parity alone, so that reflections are respected as
rotations are; 0+ and 1- come in and go out, 2+ lives between the layers. Distances are in Å.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ditkernels.nn import EquivariantLayerNorm, EquivariantLinear, SO3Attention, select_irreps
from ditkernels.so3 import Irreps

OUTSIDE, INSIDE = Irreps.natural(1), Irreps.natural(2)


class SO3Layer(nn.Module):
    r"""One layer of attention with self-interaction, one pair of matrices per degree l:

    .. math:: f'_l = W_l\,[z_l; f_l], \qquad z = \mathrm{SO3Attention}(\mathrm{ELN}(f))

    (SE(3)-Transformer, arXiv 2006.10503, eq. 12, with depthwise filters.) ``W`` on z is the output layer of the
    attention; degrees that f or f' lacks are 0 there.
    """

    def __init__(
        self, irreps_in: Irreps, irreps_out: Irreps, channels: int, heads: int, basis_size: int, cutoff: float
    ) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = irreps_in, irreps_out
        self.kept = Irreps(irrep for irrep in irreps_in if irrep in set(irreps_out))
        self.norm = EquivariantLayerNorm(irreps_in)
        self.attention = SO3Attention(
            irreps_in,
            irreps_out,
            channels,
            heads,
            filter_degrees=3,
            basis_size=basis_size,
            radial="gaussian",
            cutoff=cutoff,
        )
        self.own = EquivariantLinear(self.kept, channels, channels, bias=False)

    def forward(self, x: Tensor, positions: Tensor, cu_seqlens: Tensor, impl: str) -> Tensor:
        """x (T, M_in, C), positions (T, 3) in Å; (T, M_out, C)."""
        attended = self.attention(self.norm(x), positions, cu_seqlens=cu_seqlens, exclude_self=True, impl=impl)
        own = self.own(select_irreps(x, self.irreps_in, self.kept))
        return attended + select_irreps(own, self.kept, self.irreps_out)


class SO3Encoder(nn.Module):
    """Noisy atoms to invariants and vectors.

    invariants: numbers per atom that come in. channels, heads, layers, basis_size, cutoff: of the attention.
    """

    def __init__(self, invariants: int, channels: int, heads: int, layers: int, basis_size: int, cutoff: float) -> None:
        super().__init__()
        self.scalars = nn.Linear(invariants, channels)
        self.vectors = nn.Parameter(torch.empty(channels))
        states = [OUTSIDE, *[INSIDE] * (layers - 1), OUTSIDE]
        self.layers = nn.ModuleList(
            SO3Layer(before, after, channels, heads, basis_size, cutoff)
            for before, after in zip(states[:-1], states[1:], strict=True)
        )

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
        state = torch.cat((scalars, vectors), dim=-2)
        for layer in self.layers:
            state = layer(state, positions * scale, cu_seqlens, impl)
        return state[..., 0, :], state[..., 1:4, :]
