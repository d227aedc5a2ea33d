"""Adaptive layer normalisation with a zero start, for features that rotate."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ditkernels.nn.components import scalar_index
from ditkernels.so3 import Irreps


class EquivariantAdaLNZero(nn.Module):
    """Modulations of a block of attention and MLP from an invariant condition c: pieces of ``silu(c) @ W + bias``.

    Scales and gates have one number per irrep and channel, shifts one per channel, for the true scalar alone; the
    order of the outputs is (irrep, channel) within each. W and bias start at zero, so a residual block passes its
    input through. (arXiv 2506.15378; :class:`ditkernels.nn.AdaLNZero` is the same for plain channels.)

    irreps_in: of the attention's input
    irreps: of the attention's output, and of the MLP
    dim: channels of each
    condition_dim: channels of the condition
    """

    def __init__(self, irreps_in: Irreps | str, irreps: Irreps | str, dim: int, condition_dim: int):
        super().__init__()
        self.irreps_in, self.irreps, self.dim = Irreps(irreps_in), Irreps(irreps), dim
        for name, value in (("irreps_in", self.irreps_in), ("irreps", self.irreps)):
            if scalar_index(value) is None:
                raise ValueError(f"{name} must hold a true scalar, which the shift acts on, got {value}")
        inner, outer = len(self.irreps_in), len(self.irreps)
        self.rows = (inner, 1, outer, outer, 1, outer)
        self.linear = nn.Linear(condition_dim, sum(self.rows) * dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, condition: Tensor) -> tuple[Tensor, ...]:
        """condition: (..., condition_dim).

        Returns (scale, shift, gate) of the attention and of the MLP: scales and gates (..., irreps, dim), shifts (...,
        dim).
        """
        rows = self.linear(F.silu(condition)).unflatten(-1, (-1, self.dim))
        scale1, shift1, gate1, scale2, shift2, gate2 = rows.split(self.rows, dim=-2)
        return scale1, shift1.squeeze(-2), gate1, scale2, shift2.squeeze(-2), gate2
