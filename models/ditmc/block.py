"""The scalar DiT block and readout (spec of the released model: sections 2.6, 2.8 and 2.9)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ditkernels.models.ditmc.layers import MLP, affine_layer_norm
from ditkernels.nn import AdaLNZero, PairAttention, layer_norm, modulate, truncated_normal_
from ditkernels.pair_attention import DisplacementPair, TablePair


class PairMaps(nn.Module):
    r"""The two learned maps of the pair tensor u in one block: :math:`a = W_A u`, :math:`b = \gamma \odot W_C u`.

    They are linear, so they act on whatever u is made of: on the rows of the hop table, and on the last
    layer of the displacement network. No tensor with a row per pair is needed.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.logit = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.gamma = nn.Parameter(torch.empty(width))

    def reset_parameters(self) -> None:
        """The per-feature weight starts as a truncated normal of unit variance, as in the released model."""
        truncated_normal_(self.gamma, 1.0)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (S, F) of u to rows (S, F) of a and of b."""
        value = self.value(rows)
        return self.logit(rows), value * self.gamma.to(value.dtype)


class DiTBlock(nn.Module):
    r"""adaLN-Zero transformer block on atoms.

    With :math:`c_i = \mathrm{LN}(g\,c^G_i + c^t)` and six modulations from it,

    .. math::
        h &\leftarrow h + \alpha_1 \odot \mathrm{Attn}(\mathrm{LN}(h)(1+\gamma_1) + \beta_1) \\
        h &\leftarrow h + \alpha_2 \odot \mathrm{MLP}(\mathrm{LN}(h)(1+\gamma_2) + \beta_2)
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.condition_norm = affine_layer_norm(width)
        self.modulation = AdaLNZero(width, width, chunks=6)
        self.norm = layer_norm(width)
        self.pair_maps = PairMaps(width)
        self.attention = PairAttention(width, heads, qkv_bias=False, out_bias=True)
        self.mlp = MLP(width, 4 * width, width, activation=nn.GELU(approximate="tanh"))

    def forward(
        self, state: Tensor, condition: Tensor, pair: TablePair | DisplacementPair, cu_seqlens: Tensor, impl: str
    ) -> Tensor:
        """State (T, F) and raw condition (T, F) to the new state (T, F)."""
        scale1, shift1, gate1, scale2, shift2, gate2 = self.modulation(self.condition_norm(condition))
        update = self.attention(
            modulate(self.norm(state), scale1, shift1), pair, cu_seqlens=cu_seqlens, exclude_self=True, impl=impl
        )
        state = state + gate1 * update
        return state + gate2 * self.mlp(modulate(self.norm(state), scale2, shift2))


class Readout(nn.Module):
    r"""Positions from the last state: :math:`W(\mathrm{LN}(h)(1+\gamma)+\beta) + b`.

    :math:`(\beta, \gamma) = \mathrm{silu}(W_r c + b_r)`: here the activation follows the dense layer, the shift
    comes first, and the condition is not normalized. The released readout has three more outputs that nothing
    reads; ours has not.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(width, 2 * width)
        self.norm = layer_norm(width)
        self.output = nn.Linear(width, 3)

    def reset_parameters(self) -> None:
        """The modulation starts at zero (adaLN-Zero)."""
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, state: Tensor, condition: Tensor) -> Tensor:
        """State (T, F), condition (T, F) -> positions (T, 3) in Å, not centered."""
        shift, scale = F.silu(self.modulation(condition)).chunk(2, dim=-1)
        return self.output(modulate(self.norm(state), scale, shift))
