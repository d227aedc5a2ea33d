"""The dense layer of features that rotate."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ditkernels.nn.components import check_features, join, scalar_index
from ditkernels.nn.initialization import truncated_normal_
from ditkernels.so3 import Irreps


class EquivariantLinear(nn.Module):
    r"""One matrix per irrep on the channels, the same for all components of an irrep:

    .. math:: y_{(x,m),o} = \sum_c W_{x,o,c}\, x_{(x,m),c} \; (+\, b_o \text{ where } x \text{ is the true scalar})

    (The "dense" layer of e3x, arXiv 2401.07595, section 4.3.) Weights start LeCun normal, the bias at 0.

    irreps: of input and output, such as "0+ 1-"
    inputs, outputs: channels
    bias: raises ValueError where ``irreps`` has no true scalar ("0+", or "0" without parities)
    """

    def __init__(self, irreps: Irreps | str, inputs: int, outputs: int, *, bias: bool = True):
        super().__init__()
        self.irreps = Irreps(irreps)
        self.inputs, self.outputs = inputs, outputs
        self.scalar = scalar_index(self.irreps)
        if bias and self.scalar is None:
            raise ValueError(f"bias must be False for irreps without a true scalar, got bias=True for {self.irreps}")
        self.weight = nn.Parameter(torch.empty(len(self.irreps), outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        truncated_normal_(self.weight, math.sqrt(1.0 / self.inputs))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., M, inputs). Returns (..., M, outputs)."""
        check_features("x", x, self.irreps, self.inputs)
        return join(
            [
                F.linear(x[..., components, :], weight, self.bias if i == self.scalar else None)
                for i, (components, weight) in enumerate(zip(self.irreps.slices, self.weight, strict=True))
            ]
        )

    def extra_repr(self) -> str:
        return f"{self.irreps}, inputs={self.inputs}, outputs={self.outputs}, bias={self.bias is not None}"
