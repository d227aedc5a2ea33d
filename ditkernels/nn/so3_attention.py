"""The equivariant self-attention layer: projections around :func:`ditkernels.so3_attention.so3_attention`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ditkernels.nn.components import check_features, scalar_index
from ditkernels.nn.equivariant_linear import EquivariantLinear
from ditkernels.nn.initialization import truncated_normal_
from ditkernels.so3 import RADIAL_BASES, Irreps, paths
from ditkernels.so3_attention import RadialBasis, so3_attention


class SO3Attention(nn.Module):
    """Multi-head self-attention within each molecule on features that rotate:

        out = W_o so3_attention(W_q x, W_k x, W_v x, positions, path_weight, RadialBasis(radial, weight_a, weight_g))

    with one matrix per irrep in every W (arXiv 2506.15378, eqs. 18-19).

    irreps_in: of x, such as "0+ 1-"; queries, keys and values have the same
    irreps_out: of the result; W_o has a bias where it holds a true scalar
    dim: channels, C = heads * D
    heads: number of heads; divides dim
    filter_degrees: the pair's direction enters by spherical harmonics of degree 0 ... filter_degrees - 1
    basis_size: radial functions K
    radial, cutoff: the radial functions, see :func:`ditkernels.so3.radial_basis`; cutoff None for "bernstein"
    """

    def __init__(
        self,
        irreps_in: Irreps | str,
        irreps_out: Irreps | str,
        dim: int,
        heads: int,
        *,
        filter_degrees: int,
        basis_size: int,
        radial: str = "bernstein",
        cutoff: float | None = None,
    ):
        super().__init__()
        if heads < 1 or dim % heads != 0:
            raise ValueError(f"heads must divide dim = {dim}, got {heads}")
        if not 1 <= filter_degrees <= 3:
            raise ValueError(f"filter_degrees must be 1, 2 or 3, got {filter_degrees}")
        if basis_size < 1:
            raise ValueError(f"basis_size must be at least 1, got {basis_size}")
        if radial not in RADIAL_BASES:
            raise ValueError(f"radial must be one of {', '.join(RADIAL_BASES)}, got {radial!r}")
        if not (cutoff is None if radial == "bernstein" else cutoff is not None and cutoff > 0):
            expected = "None" if radial == "bernstein" else "a positive distance"
            raise ValueError(f"cutoff must be {expected} for radial={radial!r}, got {cutoff}")
        self.irreps_in, self.irreps_out = Irreps(irreps_in), Irreps(irreps_out)
        self.paths = paths(self.irreps_in, self.irreps_out, filter_degrees)
        if not self.paths:
            raise ValueError(f"irreps_out must be reachable from {self.irreps_in}, no path leads to {self.irreps_out}")
        self.heads, self.radial, self.cutoff = heads, radial, cutoff
        self.query, self.key, self.value = (EquivariantLinear(irreps_in, dim, dim, bias=False) for _ in range(3))
        self.weight_a = nn.Parameter(torch.empty(basis_size, len(self.irreps_in), dim))
        self.weight_g = nn.Parameter(torch.empty(basis_size, filter_degrees, dim))
        self.path_weight = nn.Parameter(torch.empty(len(self.paths), dim))
        self.out = EquivariantLinear(irreps_out, dim, dim, bias=scalar_index(self.irreps_out) is not None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """LeCun normal radial maps; path weights of variance 1 / (number of paths into the same output)."""
        for weight in (self.weight_a, self.weight_g):
            truncated_normal_(weight, math.sqrt(1.0 / weight.shape[0]))
        into = [path.output for path in self.paths]
        with torch.no_grad():
            for row, output in zip(self.path_weight, into, strict=True):
                truncated_normal_(row, math.sqrt(1.0 / into.count(output)))

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        *,
        index: Tensor | None = None,
        scaling: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        lengths: Tensor | None = None,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        cutoff: Tensor | None = None,
        exclude_self: bool = False,
        impl: str = "auto",
    ) -> Tensor:
        """x: (T, M, dim) with cu_seqlens, or (B, N, M, dim) with optional lengths; positions: (T, 3) or (B, N, 3).

        index (P,) and scaling (S, filter_degrees, K) multiply the radial functions of a pair by a row of the table, see
        :class:`RadialBasis`; the other arguments are those of so3_attention.

        Returns a tensor like x with the components of irreps_out.
        """
        check_features("x", x, self.irreps_in, self.weight_a.shape[-1])
        query, key, value = (layer(x).unflatten(-1, (self.heads, -1)) for layer in (self.query, self.key, self.value))
        radial = RadialBasis(
            self.radial, self.weight_a, self.weight_g, cutoff=self.cutoff, index=index, scaling=scaling
        )
        attended = so3_attention(
            query,
            key,
            value,
            positions,
            self.path_weight,
            radial,
            irreps_qk=self.irreps_in,
            irreps_v=self.irreps_in,
            irreps_out=self.irreps_out,
            cu_seqlens=cu_seqlens,
            lengths=lengths,
            mask=mask,
            bias=bias,
            cutoff=cutoff,
            exclude_self=exclude_self,
            impl=impl,
        )
        return self.out(attended.flatten(-2))
