"""Layer norm of features that rotate."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ditkernels.nn.components import check_features, join, scalar_index
from ditkernels.so3 import Irreps

SCALES = {"rms": 1e-2, "variance": 1e-6}
"""Kinds of normalization, and the epsilon that each has unless another is given."""

SCALAR_EPS = 1e-6


class EquivariantLayerNorm(nn.Module):
    r"""Every irrep to unit size, without parameters: scale and shift come from a condition (:func:`modulate_irreps`).

    The true scalar has the ordinary layer norm over channels. Every other irrep is divided by one number, with
    :math:`n_c^2 = \sum_m x_{m,c}^2`,

    .. math::
        \text{"rms"}: \sqrt{\mathrm{mean}_c(n_c^2) + \epsilon} \qquad
        \text{"variance"}: \sqrt{\mathrm{var}_c(n_c) + \epsilon}

    "variance" is that of the released DiTMC (arXiv 2506.15378), with its epsilon of 1e-6, and takes :math:`n_c` as 0
    where :math:`n_c^2 \le \epsilon`; norms that are nearly equal in all channels are amplified up to
    :math:`1/\sqrt\epsilon` times by it. "rms" has no such case, and its epsilon of 1e-2 keeps an irrep that symmetry
    forbids (a pseudoscalar in a planar molecule) from being rounding noise blown up to unit size: it grows 10 times at
    most. Both are smooth at 0. The scalar's epsilon is 1e-6.

    irreps: such as "0+ 1-"
    scale: "rms" or "variance"
    eps: of the irreps that are no true scalar; None for that of the kind
    """

    def __init__(self, irreps: Irreps | str, *, scale: str = "rms", eps: float | None = None):
        super().__init__()
        if scale not in SCALES:
            raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {scale!r}")
        self.irreps, self.scale = Irreps(irreps), scale
        self.eps = SCALES[scale] if eps is None else eps
        self.scalar = scalar_index(self.irreps)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., M, C). Returns the same shape; half precision is measured in float32."""
        check_features("x", x, self.irreps)
        pieces = [x[..., components, :] for components in self.irreps.slices]
        return join(
            [
                F.layer_norm(piece, piece.shape[-1:], eps=SCALAR_EPS) if i == self.scalar else self._unit(piece)
                for i, piece in enumerate(pieces)
            ]
        )

    def _unit(self, piece: Tensor) -> Tensor:
        wide = piece if piece.dtype in (torch.float32, torch.float64) else piece.float()
        square = wide.square().sum(dim=-2, keepdim=True)
        if self.scale == "rms":
            mean_square = square.mean(dim=-1, keepdim=True)
        else:
            # Two masks: the square root of a masked 0 would have an infinite derivative.
            seen = square > self.eps
            norms = torch.where(seen, torch.where(seen, square, 1.0).sqrt(), 0.0)
            mean_square = norms.var(dim=-1, correction=0, keepdim=True)
        return (wide * (mean_square + self.eps).rsqrt()).to(piece.dtype)

    def extra_repr(self) -> str:
        return f"{self.irreps}, scale={self.scale}, eps={self.eps}"
