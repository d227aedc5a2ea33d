"""SO(3)-equivariant attention on noisy atoms: what D3MES describes (arXiv 2501.07077), on the fused operator.

Features are irreps 0+, 1- and 2+ of every atom, coupled by natural parity alone, so that reflections are respected as
rotations are; 0+ and 1- come in and go out, 2+ lives between the layers. Distances are in Å.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ditkernels.models.d3mes.image import ORDERS
from ditkernels.nn import SO3Block
from ditkernels.so3 import Irreps

OUTSIDE, INSIDE = Irreps.natural(1), Irreps.natural(2)


@dataclass(frozen=True)
class Atoms:
    """T atoms of B ragged molecules, P pairs.

    positions: (T, 3) in Å. molecule: (T,) int64, which each belongs to. cu_seqlens: (B + 1,), first row of each
    molecule. bonds: (P, 3), expected bonds of every pair, see :class:`ditkernels.models.d3mes.guess.Guess`.
    """

    positions: Tensor
    molecule: Tensor
    cu_seqlens: Tensor
    bonds: Tensor


class BondedBlock(SO3Block):
    r"""The block of D3MES: expected bonds w of the pairs are a bias :math:`w\,W_b` of the attention's logits (the
    attention of SE(3)-Transformer, arXiv 2006.10503, eq. 12, with depthwise filters). W_b (orders, heads) starts at 0.

    channels, condition: widths of the state and of c. heads, basis_size, cutoff: of the attention.
    """

    def __init__(
        self,
        irreps_in: Irreps,
        irreps_out: Irreps,
        channels: int,
        condition: int,
        heads: int,
        basis_size: int,
        cutoff: float,
    ) -> None:
        radial = {"filter_degrees": 3, "basis_size": basis_size, "radial": "gaussian", "cutoff": cutoff}
        super().__init__(irreps_in, irreps_out, channels, condition, 2 * channels, heads, **radial)
        self.bonds = nn.Linear(ORDERS, heads, bias=False)

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.bonds.weight)

    def forward(self, state: Tensor, condition: Tensor, atoms: Atoms, impl: str) -> Tensor:
        """State (T, M_in, C) and c (B, D) to the new state (T, M_out, C)."""
        options = {"rows": atoms.molecule, "cu_seqlens": atoms.cu_seqlens, "bias": self.bonds(atoms.bonds)}
        return super().forward(state, condition, atoms.positions, **options, exclude_self=True, impl=impl)


class SO3Stack(nn.Module):
    """Blocks from 0+ and 1- to 0+ and 1-, with 0+, 1- and 2+ between them; arguments: see :class:`BondedBlock`."""

    def __init__(self, layers: int, channels: int, condition: int, heads: int, basis_size: int, cutoff: float) -> None:
        super().__init__()
        states = [OUTSIDE, *[INSIDE] * (layers - 1), OUTSIDE]
        self.blocks = nn.ModuleList(
            BondedBlock(before, after, channels, condition, heads, basis_size, cutoff)
            for before, after in zip(states[:-1], states[1:], strict=True)
        )

    def reset_parameters(self) -> None:
        for block in self.blocks:
            block.reset_parameters()

    def forward(
        self, scalars: Tensor, vectors: Tensor, condition: Tensor, atoms: Atoms, impl: str
    ) -> tuple[Tensor, Tensor]:
        """Scalars (T, C) and vectors (T, 3, C) to new ones."""
        state = torch.cat((scalars.unsqueeze(-2), vectors), dim=-2)
        for block in self.blocks:
            state = block(state, condition, atoms, impl)
        return state[..., 0, :], state[..., 1:, :]


class SO3Encoder(nn.Module):
    """Noisy atoms to scalars and vectors.

    invariants: numbers per atom that come in. sizes: arguments of :class:`SO3Stack`.
    """

    def __init__(self, invariants: int, **sizes: int | float) -> None:
        super().__init__()
        self.scalars = nn.Linear(invariants, sizes["channels"])
        self.vectors = nn.Parameter(torch.empty(sizes["channels"]))
        self.stack = SO3Stack(**sizes)

    def reset_parameters(self) -> None:
        nn.init.normal_(self.vectors)
        self.stack.reset_parameters()

    def forward(
        self, invariants: Tensor, positions: Tensor, condition: Tensor, atoms: Atoms, impl: str
    ) -> tuple[Tensor, Tensor]:
        """Scalars (T, C) and vectors (T, 3, C) of atoms with invariants (T, F), and positions (T, 3) as the image has
        them, with zero mean; c (B, D).
        """
        return self.stack(self.scalars(invariants), positions.unsqueeze(-1) * self.vectors, condition, atoms, impl)


class SO3Decoder(nn.Module):
    r"""Scalars s and vectors V of the encoder, and what the transformer made of them, to one vector per atom:

    .. math::
        s', V' = \mathrm{SO3Stack}(s + h, \; V \odot (1 + g)), \qquad
        v = \sum_k w_k (1 + \gamma_k)\, V'_k, \qquad \gamma = W_c\,\mathrm{silu}(c) + b + W_s\,\mathrm{LN}(s')

    The weights w, W and b start at 0. sizes: arguments of :class:`SO3Stack`.
    """

    def __init__(self, **sizes: int | float) -> None:
        super().__init__()
        self.stack = SO3Stack(**sizes)
        self.modulation = nn.Linear(sizes["condition"], sizes["channels"])
        self.gate = nn.Linear(sizes["channels"], sizes["channels"], bias=False)
        self.out = nn.Linear(sizes["channels"], 1, bias=False)

    def reset_parameters(self) -> None:
        for parameter in (self.modulation.weight, self.modulation.bias, self.gate.weight, self.out.weight):
            nn.init.zeros_(parameter)
        self.stack.reset_parameters()

    def forward(
        self,
        scalars: Tensor,
        vectors: Tensor,
        shift: Tensor,
        gate: Tensor,
        condition: Tensor,
        atoms: Atoms,
        impl: str,
    ) -> Tensor:
        """(T, C), (T, 3, C), h and g (T, C), c (B, D) to vectors (T, 3)."""
        scalars, vectors = self.stack(scalars + shift, vectors * (1 + gate).unsqueeze(-2), condition, atoms, impl)
        scale = self.modulation(F.silu(condition))[atoms.molecule] + self.gate(
            F.layer_norm(scalars, scalars.shape[-1:])
        )
        return self.out(vectors * (1 + scale).unsqueeze(-2)).squeeze(-1)
