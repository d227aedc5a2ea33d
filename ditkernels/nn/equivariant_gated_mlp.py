"""The MLP of features that rotate."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ditkernels.nn.components import scalar_index
from ditkernels.nn.equivariant_linear import EquivariantLinear
from ditkernels.nn.recompute import recomputed
from ditkernels.so3 import Irreps


def gelu_gate(x: Tensor) -> Tensor:
    r""":math:`\Phi(x) = (1 + \tanh(\sqrt{2/\pi}(x + 0.044715 x^3)))/2`, so that x Φ(x) is the tanh form of GELU."""
    return torch.sigmoid(math.sqrt(8.0 / math.pi) * (x + 0.044715 * x * x * x))


class EquivariantGatedMLP(nn.Module):
    r"""Two dense layers with a gate between that the true scalars of the hidden layer open:

    .. math:: y = W_2 (\Phi(z_{0+}) \odot z) \;(+\, b_2), \qquad z = W_1 x \;(+\, b_1)

    The gate multiplies every irrep and component, so on the scalar itself it is a GELU (arXiv 2506.15378, released
    model). Biases act on the true scalar.

    irreps: of input, hidden layer and output; with a true scalar
    dim, hidden: channels outside and inside
    recompute: whether the backward pass makes the hidden layer again instead of keeping it
    """

    def __init__(self, irreps: Irreps | str, dim: int, hidden: int, *, recompute: bool = False):
        super().__init__()
        self.irreps = Irreps(irreps)
        scalar = scalar_index(self.irreps)
        if scalar is None:
            raise ValueError(f"irreps must hold a true scalar, whose channels are the gate, got {self.irreps}")
        self.gate, self.recompute = self.irreps.slices[scalar], recompute
        self.up = EquivariantLinear(self.irreps, dim, hidden)
        self.down = EquivariantLinear(self.irreps, hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., M, dim). Returns the same shape."""
        return recomputed(self._layers, x) if self.recompute else self._layers(x)

    def _layers(self, x: Tensor) -> Tensor:
        z = self.up(x)
        return self.down(gelu_gate(z[..., self.gate, :]) * z)
