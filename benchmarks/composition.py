"""SO(3) attention around somebody's tensor product: gathers, a softmax over listed pairs, and radial projections.

A subclass brings what the packages differ in: layout and basis of the features, harmonics, and the product of values
and harmonics summed over the senders. The softmax weight enters through the product's weights, so that no tensor of
pairs and components is made beside the product's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ditkernels.so3 import Irreps, paths, radial_basis


@dataclass(frozen=True)
class Pairs:
    """Receivers and senders (P,) of a batch without self pairs, sorted by receiver, and their rows in pair tensors.

    by_sender: order of the pairs sorted by sender
    """

    receivers: Tensor
    senders: Tensor
    rows: Tensor
    by_sender: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device | str | None = None) -> Pairs:
        """The pairs of molecules of the given sizes."""
        receivers, senders, rows, first, row = [], [], [], 0, 0
        for size in lengths:
            i, j = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
            keep = (i != j).flatten()
            receivers.append(first + i.flatten()[keep])
            senders.append(first + j.flatten()[keep])
            rows.append(row + torch.arange(size * size)[keep])
            first, row = first + size, row + size * size
        listed = [torch.cat(x) for x in (receivers, senders, rows)]
        return cls(*(x.to(device) for x in (*listed, listed[1].argsort(stable=True))))


class Composition(torch.nn.Module):
    """The operator for fixed irreps.

    irreps_qk, irreps_v, irreps_out, filter_degrees, heads, channels: as in `so3_attention`
    components_last: features of an irrep are stored as (C, 2l+1), else as (2l+1, C)
    """

    components_last: bool

    def __init__(
        self, irreps_qk: Irreps, irreps_v: Irreps, irreps_out: Irreps, filter_degrees: int, heads: int, channels: int
    ):
        super().__init__()
        self.irreps_qk, self.irreps_v, self.irreps_out = irreps_qk, irreps_v, irreps_out
        self.filter_degrees, self.heads, self.channels = filter_degrees, heads, channels
        self.scale = (irreps_qk.dim * channels // heads) ** -0.5
        self.paths = paths(irreps_v, irreps_out, filter_degrees)

    def to_own(self, x: Tensor) -> Tensor:
        """Features (T, M, H, D) of queries, keys, values or outputs with the irreps of the values as (T, C * M)."""
        raise NotImplementedError

    def from_own(self, x: Tensor, heads: int) -> Tensor:
        """The inverse of :meth:`to_own` for an output."""
        raise NotImplementedError

    def harmonics_of(self, delta: Tensor) -> Tensor:
        """(P, J * J) of vectors (P, 3)."""
        raise NotImplementedError

    def weights_of(self, weights: Tensor) -> Tensor:
        """Weights (P, paths, C) of our paths as the product wants them."""
        return weights

    def aggregate(self, value: Tensor, harmonics: Tensor, weights: Tensor, pairs: Pairs) -> Tensor:
        """The products of values and harmonics with weights (P, paths, C), summed over senders: (T, C * Mo)."""
        raise NotImplementedError

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, positions: Tensor, path_weight: Tensor, a, g, pairs: Pairs
    ) -> Tensor:
        """query, key, value: (T, C * M) in the subclass's layout; positions (T, 3) with rows x, y, z; path_weight
        (paths, C); a (P, irreps, C) and g (P, degrees, C) for the listed pairs. Returns (T, C * Mo).
        """
        harmonics = self.harmonics_of(positions[pairs.senders] - positions[pairs.receivers])
        p = self._softmax(query, key, a, pairs)
        degrees = [path.filter_degree for path in self.paths]
        weights = self.weights_of(g[:, degrees] * p[:, None] * path_weight)
        return self.aggregate(value, harmonics, weights, pairs)

    def _softmax(self, query: Tensor, key: Tensor, a: Tensor, pairs: Pairs) -> Tensor:
        """Weights (P, C) of the pairs, repeated over the channels of a head."""
        receivers, logits = pairs.receivers, 0.0
        shape = (self.channels, -1) if self.components_last else (-1, self.channels)
        for i, part in enumerate(self.irreps_qk.slices):
            part = slice(self.channels * part.start, self.channels * part.stop)
            products = query[:, part][receivers] * key[:, part][pairs.senders]
            logits = logits + products.unflatten(-1, shape).sum(-1 if self.components_last else -2) * a[:, i]
        logits = self.scale * logits.unflatten(-1, (self.heads, -1)).sum(-1)  # (P, H)
        highest = logits.new_full((query.shape[0], self.heads), -torch.inf)
        highest = highest.scatter_reduce(0, receivers[:, None].expand_as(logits), logits.detach(), "amax")
        weights = (logits - highest[receivers]).exp()
        total = weights.new_zeros(query.shape[0], self.heads).index_add(0, receivers, weights)
        return (weights / total[receivers]).repeat_interleave(self.channels // self.heads, -1)

    @staticmethod
    def project(kind: str, distance: Tensor, weight_a: Tensor, weight_g: Tensor, cutoff, scaling) -> tuple:
        """a and g of the basis form for listed pairs: distance (P,), scaling (P, degrees, K) or None."""
        phi = radial_basis(kind, distance, weight_a.shape[0], cutoff)[:, None]
        rho = phi.expand(-1, weight_g.shape[1], -1) if scaling is None else phi * scaling
        a = (rho[:, 0] @ weight_a.flatten(1)).unflatten(-1, weight_a.shape[1:])
        return a, torch.stack([rho[:, J] @ weight_g[:, J] for J in range(weight_g.shape[1])], 1)
