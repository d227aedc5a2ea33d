"""The PE(3) DiT block and readout (spec of the released model: sections 2.5 and 2.7 to 2.9).

Atom states are features (T, M, F) over a list of irreps. With ``parity_broadcast`` the network is as released: its
first block also writes its vectors into the slot of pseudovectors and its scalars into that of pseudoscalars, and the
readout adds the two slots, so that a reflected input does not give the reflected output. Without it, parity labels mean
what they say, and every block has just the irreps that can be non-zero.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ditkernels.models.ditmc.config import DiTMCConfig
from ditkernels.models.ditmc.layers import affine_layer_norm
from ditkernels.models.ditmc.pairs import DirectionPair
from ditkernels.nn import EquivariantLayerNorm, SO3Block
from ditkernels.so3 import Irreps, paths

ATOMS = Irreps("0+")
"""What the state is before the first block: the element's embedding."""

POSITIONS = Irreps("1-")
"""What the readout makes."""


def state_irreps(degree: int, blocks: int, parity_broadcast: bool) -> list[Irreps]:
    """Irreps of the state before the first block and after every block.

    With the parity broadcast all irreps up to ``degree`` exist from the first block on. Without, a block adds what
    its attention reaches, and the last one keeps what the readout sees: the vectors, and the scalar of the MLP's gate.
    """
    everything = Irreps.with_parity(degree)
    if parity_broadcast:
        return [ATOMS, *[everything] * blocks]
    states = [ATOMS]
    for _ in range(blocks - 1):
        reached = {path.output for path in paths(states[-1], everything, degree + 1)}
        states.append(Irreps(irrep for i, irrep in enumerate(everything) if i in reached))
    return [*states, Irreps((*ATOMS, *POSITIONS))]


class EquivariantDiTBlock(SO3Block):
    r"""The block of the network: its modulations come from :math:`c_i = \mathrm{LN}(g\,c^G_i + c^t)`.

    Args:
        irreps_in, irreps: of the state before and after.
        config: of the network.
    """

    def __init__(self, irreps_in: Irreps, irreps: Irreps, config: DiTMCConfig) -> None:
        width = config.width
        # The released model's first block attends to tensors of natural parity, which then fill both parities.
        broadcast = config.parity_broadcast and irreps_in == ATOMS
        super().__init__(
            irreps_in,
            irreps,
            width,
            width,
            4 * width,
            config.heads,
            attended=Irreps.natural(config.degree) if broadcast else irreps,
            norm=config.equivariant_norm,
            filter_degrees=config.degree + 1,
            basis_size=config.basis_size,
        )
        self.broadcast = broadcast
        self.condition_norm = affine_layer_norm(width)

    def forward(self, state: Tensor, condition: Tensor, pair: DirectionPair, cu_seqlens: Tensor, impl: str) -> Tensor:
        """State (T, M_in, F) and raw condition (T, F) to the new state (T, M, F)."""
        options = {"index": pair.index, "scaling": pair.scaling, "cu_seqlens": cu_seqlens}
        condition = self.condition_norm(condition)
        return super().forward(state, condition, pair.positions, **options, exclude_self=True, impl=impl)

    def attend(self, x: Tensor, positions: Tensor, **attention) -> Tensor:
        update = super().attend(x, positions, **attention)
        return torch.cat((update, update), dim=-2) if self.broadcast else update


def equivariant_blocks(config: DiTMCConfig) -> list[EquivariantDiTBlock]:
    """The blocks of a PE(3) network."""
    states = state_irreps(config.degree, config.blocks, config.parity_broadcast)
    return [EquivariantDiTBlock(before, after, config) for before, after in zip(states[:-1], states[1:], strict=True)]


class EquivariantReadout(nn.Module):
    r"""Positions from the vectors of the last state: :math:`\sum_c W_c\,(1+\gamma_c)\,\mathrm{ELN}(h_{1-})_c`.

    :math:`\gamma = \mathrm{silu}(W_r \mathrm{LN}(c) + b_r)`: here the activation follows the dense layer. The released
    readout also makes scales and shifts of scalars and a second output, which nothing reads; ours does not.

    Args:
        irreps: of the last state.
        config: of the network.
    """

    def __init__(self, irreps: Irreps, config: DiTMCConfig) -> None:
        super().__init__()
        width = config.width
        # With the broadcast, vectors are in both places.
        read = {(1, 1), (1, -1)} if config.parity_broadcast else set(POSITIONS)
        self.vectors = [components for irrep, components in zip(irreps, irreps.slices, strict=True) if irrep in read]
        self.condition_norm = affine_layer_norm(width)
        self.modulation = nn.Linear(width, width)
        self.norm = EquivariantLayerNorm(POSITIONS, scale=config.equivariant_norm)
        self.output = nn.Linear(width, 1, bias=False)

    def reset_parameters(self) -> None:
        """The modulation starts at zero (adaLN-Zero)."""
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, state: Tensor, condition: Tensor) -> Tensor:
        """State (T, M, F), condition (T, F) -> positions (T, 3) in Å, not centered."""
        vectors = sum(state[..., components, :] for components in self.vectors)
        scale = F.silu(self.modulation(self.condition_norm(condition)))
        return self.output(self.norm(vectors) * (1 + scale.unsqueeze(-2))).squeeze(-1)
