"""Dense layers of features (T, M, C) and the gated MLP, written into given tensors: for inference.

CPU tensors of float32 and float64 are computed by native kernels (csrc/cpu/atomwise) over weights that are packed once;
others, and all where the native library was not built, by PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ditkernels.atomwise.api import gated_gelu_, is_native


@dataclass(frozen=True)
class Dense:
    """A dense layer per irrep, :math:`W_x` applied to every component of irrep x.

    weight: (irreps, outputs, inputs), which must not change after the first call
    bias: (outputs) or None; what adds it is the next pass over the atoms, unless all there is are scalars
    components: of each irrep
    """

    weight: Tensor
    bias: Tensor | None
    components: tuple[int, ...]

    @cached_property
    def packed(self) -> Tensor:
        """The weights in the order in which the native kernels read them."""
        return torch.ops.ditkernels_native.atomwise_pack(self.weight.detach().contiguous())

    @cached_property
    def sizes(self) -> Tensor:
        """The components as the native operators take them."""
        return torch.tensor(self.components, dtype=torch.int64)

    @torch.no_grad()
    def __call__(self, x: Tensor, out: Tensor, *, with_bias: bool = False) -> Tensor:
        """out = x (T, M, inputs) times the weights: (T, M, outputs), whose atoms may lie apart, as those of x.

        with_bias: whether the bias is added, for M = 1 alone
        """
        bias = self.bias if with_bias else None
        if bias is not None and x.shape[1] != 1:
            raise ValueError(f"with_bias is for scalars alone, got features of {x.shape[1]} components")
        if is_native(x):
            torch.ops.ditkernels_native.atomwise_dense(x, self.packed, bias, self.sizes, out)
            return out
        if bias is not None:
            torch.addmm(bias, x[:, 0], self.weight[0].t(), out=out[:, 0])
            return out
        place = 0
        for matrix, count in zip(self.weight, self.components, strict=True):
            if count == x.shape[1]:
                torch.mm(x.flatten(0, 1), matrix.t(), out=out.flatten(0, 1))
            else:  # one component is a matrix whose rows lie M * C apart: no copy
                for m in range(place, place + count):
                    torch.mm(x[:, m], matrix.t(), out=out[:, m])
            place += count
        return out


@dataclass(frozen=True)
class GatedMLP:
    r"""Two dense layers with gates between: :math:`W_{down}(g(s) \odot W_{up} x)`, g(s) as in :func:`gated_gelu_`,
    s the scalar of :math:`W_{up} x` with the bias of ``up``. That of ``down`` is not added.

    scalar: the irrep that opens the gates, of one component
    """

    up: Dense
    down: Dense
    scalar: int = 0

    @torch.no_grad()
    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        """x, out: (T, M, C), contiguous."""
        up, down = self.up, self.down
        hidden = up.weight.shape[1]
        if is_native(x):
            torch.ops.ditkernels_native.atomwise_gated_mlp(
                x, up.packed, up.bias, down.packed, up.sizes, self.scalar, hidden, out
            )
            return out
        inner = up(x, x.new_empty(*x.shape[:2], hidden))
        gated_gelu_(inner, up.bias, sum(up.components[: self.scalar]))
        return down(inner, out)
