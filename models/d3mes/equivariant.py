"""SO(3)-equivariant attention on noisy atoms: what D3MES describes (arXiv 2501.07077), on the fused operator.

Features are irreps 0+, 1- and 2+ of every atom, coupled by natural parity alone, so that reflections are respected as
rotations are; 0+ and 1- come in and go out, 2+ lives between the layers. Distances are in Å.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ditkernels.nn import EquivariantLayerNorm, EquivariantLinear, SO3Attention, select_irreps
from ditkernels.so3 import Irreps

OUTSIDE, INSIDE, VECTORS = Irreps.natural(1), Irreps.natural(2), Irreps("1-")


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


class SO3Stack(nn.Module):
    """Layers from 0+ and 1- to ``irreps_out``, with 0+, 1- and 2+ between them.

    channels, heads, layers, basis_size, cutoff: of the attention.
    """

    def __init__(
        self, irreps_out: Irreps, channels: int, heads: int, layers: int, basis_size: int, cutoff: float
    ) -> None:
        super().__init__()
        states = [OUTSIDE, *[INSIDE] * (layers - 1), irreps_out]
        self.layers = nn.ModuleList(
            SO3Layer(before, after, channels, heads, basis_size, cutoff)
            for before, after in zip(states[:-1], states[1:], strict=True)
        )

    def forward(self, scalars: Tensor, vectors: Tensor, positions: Tensor, cu_seqlens: Tensor, impl: str) -> Tensor:
        """Scalars (T, C), vectors (T, 3, C) and positions (T, 3) in Å of ragged molecules to features (T, M, C)."""
        state = torch.cat((scalars.unsqueeze(-2), vectors), dim=-2)
        for layer in self.layers:
            state = layer(state, positions, cu_seqlens, impl)
        return state


class SO3Encoder(nn.Module):
    """Noisy atoms to scalars and vectors.

    invariants: numbers per atom that come in; the others are those of :class:`SO3Stack`.
    """

    def __init__(self, invariants: int, channels: int, heads: int, layers: int, basis_size: int, cutoff: float) -> None:
        super().__init__()
        self.scalars = nn.Linear(invariants, channels)
        self.vectors = nn.Parameter(torch.empty(channels))
        self.stack = SO3Stack(OUTSIDE, channels, heads, layers, basis_size, cutoff)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.vectors)

    def forward(
        self, invariants: Tensor, positions: Tensor, scale: float, cu_seqlens: Tensor, impl: str
    ) -> tuple[Tensor, Tensor]:
        """Scalars (T, C) and vectors (T, 3, C) of atoms with invariants (T, F) and centred positions (T, 3), which are
        in units of ``scale`` Å.
        """
        vectors = positions.unsqueeze(-1) * self.vectors
        state = self.stack(self.scalars(invariants), vectors, positions * scale, cu_seqlens, impl)
        return state[..., 0, :], state[..., 1:, :]


class SO3Decoder(nn.Module):
    r"""Scalars s and vectors V of the encoder, and what the transformer made of them, to one vector per atom:

    .. math:: V' = \mathrm{SO3Stack}(s + h, \; V \odot (1 + g)), \qquad \epsilon = \sum_c w_c V'_c

    The weights w start at 0. Arguments are those of :class:`SO3Stack`.
    """

    def __init__(self, channels: int, heads: int, layers: int, basis_size: int, cutoff: float) -> None:
        super().__init__()
        self.stack = SO3Stack(VECTORS, channels, heads, layers, basis_size, cutoff)
        self.out = nn.Linear(channels, 1, bias=False)

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.out.weight)

    def forward(
        self,
        scalars: Tensor,
        vectors: Tensor,
        shift: Tensor,
        gate: Tensor,
        positions: Tensor,
        cu_seqlens: Tensor,
        impl: str,
    ) -> Tensor:
        """(T, C), (T, 3, C), h and g (T, C), positions (T, 3) in Å to vectors (T, 3)."""
        vectors = vectors * (1 + gate).unsqueeze(-2)
        return self.out(self.stack(scalars + shift, vectors, positions, cu_seqlens, impl)).squeeze(-1)
