"""Residual, layer norm and modulation of adaLN-Zero blocks, and their activation, written into given tensors.

No autograd: these are the steps of a network that is evaluated many times. CPU tensors of float32 and float64 are
computed by native kernels (csrc/cpu/atomwise), one pass over the rows with all cores; others, and all where the native
library was not built, by PyTorch. The activation alone is PyTorch's: in native kernels it is a part of the gated MLP.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ditkernels import _native
from ditkernels.so3 import Irreps

KINDS = ("layer norm", "rms", "variance")


def is_native(x: Tensor) -> bool:
    """Whether the native kernels take a tensor."""
    return _native.available and x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)


@dataclass(frozen=True)
class Norm:
    """How every irrep of features (T, M, C) is brought to unit size; see :class:`ditkernels.nn.EquivariantLayerNorm`.

    components: of each irrep
    kinds: of each irrep; "layer norm" for the true scalar, of which there is one at most, "rms" or "variance"
    eps: of each irrep
    """

    components: tuple[int, ...]
    kinds: tuple[str, ...]
    eps: tuple[float, ...]

    @classmethod
    def of(cls, irreps: Irreps, kind: str, scalar_eps: float, eps: float) -> Norm:
        """The layer norm for the true scalar of a list, and one kind for all others."""
        scalar = [irrep.degree == 0 and irrep.parity >= 0 for irrep in irreps]
        return cls(
            tuple(irrep.dim for irrep in irreps),
            tuple("layer norm" if s else kind for s in scalar),
            tuple(scalar_eps if s else eps for s in scalar),
        )

    @property
    def slices(self) -> list[slice]:
        """The components of each irrep."""
        ends = [sum(self.components[: x + 1]) for x in range(len(self.components))]
        return [slice(end - size, end) for end, size in zip(ends, self.components)]

    @cached_property
    def native(self) -> tuple[Tensor, Tensor]:
        """The irreps as the native operator takes them."""
        pairs = [(size, KINDS.index(kind)) for size, kind in zip(self.components, self.kinds)]
        return torch.tensor(pairs, dtype=torch.int64), torch.tensor(self.eps, dtype=torch.float64)


@torch.no_grad()
def residual_norm_(
    state: Tensor,
    table: Tensor,
    rows: Tensor,
    norm: Norm,
    *,
    update: Tensor | None = None,
    bias: Tensor | None = None,
    gate: int = 0,
    scale: int = 0,
    shift: int = 0,
    out: Tensor | None = None,
) -> None:
    """state += gate * (update + bias), in place; then out = norm(state) * (1 + scale) + shift.

    The modulations of atom t are columns of table[rows[t]]: gates and scales one per irrep and channel, shifts one per
    channel, for the true scalar alone, as is the bias.

    state, update, out: (T, M, C), contiguous; without update the state stays, without out the norm is not computed
    table: (U, columns); rows: (T,) int32
    gate, scale, shift: the first column of each
    bias: (C,) or None
    """
    if is_native(state):
        torch.ops.ditkernels_native.atomwise_transition(
            state, update, bias, table, rows, gate, scale, shift, *norm.native, out
        )
        return
    channels, irreps = state.shape[-1], len(norm.components)

    def modulation(first: int, count: int) -> Tensor:
        return table[:, first : first + count * channels].unflatten(1, (count, channels))[rows]

    for x, (components, kind) in enumerate(zip(norm.slices, norm.kinds, strict=True)):
        piece, scalar = state[:, components], kind == "layer norm"
        if update is not None:
            change = update[:, components]
            change = change + bias if scalar and bias is not None else change
            piece += modulation(gate, irreps)[:, x : x + 1] * change
        if out is not None:
            unit = _unit(piece, kind, norm.eps[x]) * (1 + modulation(scale, irreps)[:, x : x + 1])
            out[:, components] = unit + modulation(shift, 1) if scalar else unit


def _unit(piece: Tensor, kind: str, eps: float) -> Tensor:
    if kind == "layer norm":
        return F.layer_norm(piece, piece.shape[-1:], eps=eps)
    square = piece.square().sum(dim=-2, keepdim=True)
    if kind == "rms":
        size = square.mean(dim=-1, keepdim=True)
    else:
        norms = torch.where(square > eps, square, 0.0).sqrt()
        size = norms.var(dim=-1, correction=0, keepdim=True)
    return piece * (size + eps).rsqrt()


@torch.no_grad()
def gated_gelu_(x: Tensor, bias: Tensor | None = None, scalar: int = 0) -> None:
    r"""x *= g(s) in place; s = x[:, scalar] + bias replaces the scalar before, and s g(s) is the tanh form of GELU:

    .. math:: g(s) = 1 / (1 + \exp(-\sqrt{8/\pi}\,(s + 0.044715 s^3)))

    x: (T, M, C), contiguous; for M = 1 this is GELU
    bias: (C,) or None
    """
    s = x[:, scalar]
    if bias is not None:
        s += bias
    x *= torch.sigmoid(math.sqrt(8.0 / math.pi) * (s + 0.044715 * s * s * s)).unsqueeze(1)
