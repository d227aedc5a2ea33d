"""`ditkernels.so3_attention` from e3nn's parts (arXiv 2506.15378, eqs. 18-19).

A depthwise `TensorProduct` ('uvu' instructions, one weight per pair, path and channel) couples the values of the
senders with the harmonics of the pairs; the softmax and the sums over senders are gathers and index_add. Features are
flat, as e3nn stores them: "Cx0e + Cx1o", (T, C * M). The softmax weight enters through the tensor product's weights, so
that no tensor of pairs and components is made beside the product's own.

Modes: "eager" and "script" are e3nn's own (`jit_mode`: how the code that e3nn generates is run; eager is its default
from PyTorch 2.10 on). e3nn 0.6.0 has a third, "inductor", which leaves the tensor product as it is; what compiles it is
torch.compile of the whole attention, here "compile", once for all sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import e3nn
import torch
from e3nn import o3
from torch import Tensor

from ditkernels.so3 import Irreps, paths, radial_basis
from ditkernels.so3.conventions import (
    e3nn_path_weight,
    from_convention,
    from_e3nn_layout,
    to_convention,
    to_e3nn_layout,
)

MODES = ("eager", "script", "compile")
PARITY = {1: "e", -1: "o", 0: "e"}


@dataclass(frozen=True)
class Pairs:
    """Receivers and senders (P,) of a batch of equally large molecules without self pairs, and their pair rows."""

    receivers: Tensor
    senders: Tensor
    rows: Tensor

    @classmethod
    def of(cls, batch: int, size: int) -> Pairs:
        i, j = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        keep = (i != j).flatten()
        first = torch.arange(batch)[:, None] * size
        receivers, senders = ((first + x.flatten()[keep]).flatten() for x in (i, j))
        rows = (torch.arange(batch)[:, None] * size**2 + torch.arange(size**2)[keep]).flatten()
        return cls(receivers, senders, rows)


class E3nnAttention(torch.nn.Module):
    """The operator for fixed irreps.

    irreps_qk, irreps_v, irreps_out, filter_degrees, heads, channels: as in `so3_attention`. Irreps without parity
        labels are all even for e3nn
    normalization: of e3nn's harmonics, "component", "norm" or "integral"; the result is the same
    mode: one of MODES
    """

    def __init__(
        self,
        irreps_qk: Irreps,
        irreps_v: Irreps,
        irreps_out: Irreps,
        filter_degrees: int,
        heads: int,
        channels: int,
        normalization: str = "component",
        mode: str = "eager",
    ):
        super().__init__()
        self.irreps_qk, self.irreps_v, self.irreps_out = irreps_qk, irreps_v, irreps_out
        self.degrees, self.heads, self.channels = list(range(filter_degrees)), heads, channels
        self.scale = (irreps_qk.dim * channels // heads) ** -0.5
        self.paths = paths(irreps_v, irreps_out, filter_degrees)
        labelled = irreps_v.labelled
        before = e3nn.get_optimization_defaults()["jit_mode"]
        e3nn.set_optimization_defaults(jit_mode="script" if mode == "script" else "eager")
        try:
            self.product = o3.TensorProduct(
                _e3nn(irreps_v, channels),
                "+".join(f"1x{J}{'o' if labelled and J % 2 else 'e'}" for J in self.degrees),
                _e3nn(irreps_out, channels),
                [(path.value, path.filter_degree, path.output, "uvu", True) for path in self.paths],
                irrep_normalization="none",
                path_normalization="none",
                shared_weights=False,
                internal_weights=False,
            )
            self.harmonics = o3.SphericalHarmonics(self.degrees, normalize=True, normalization=normalization)
        finally:
            e3nn.set_optimization_defaults(jit_mode=before)
        factors = [
            e3nn_path_weight(
                path.filter_degree,
                irreps_v[path.value].degree,
                irreps_out[path.output].degree,
                f"e3nn-{normalization}",
                filter_first=False,
            )
            for path in self.paths
        ]
        self.register_buffer("factors", torch.tensor(factors)[:, None], persistent=False)
        if mode == "compile":
            self.compile(dynamic=True)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, positions: Tensor, path_weight: Tensor, a, g, pairs: Pairs
    ) -> Tensor:
        """query, key, value: (T, C * M) in e3nn's layout and basis; positions (T, 3) with rows x, y, z; path_weight
        (paths, C); a (P, irreps, C) and g (P, degrees, C) for the listed pairs. Returns (T, C * Mo).
        """
        delta = positions[pairs.senders] - positions[pairs.receivers]
        harmonics = self.harmonics(delta)
        receivers, logits = pairs.receivers, 0.0
        for i, (part, irrep) in enumerate(zip(_slices(self.irreps_qk, self.channels), self.irreps_qk)):
            products = query[:, part][receivers] * key[:, part][pairs.senders]
            logits = logits + products.unflatten(-1, (self.channels, irrep.dim)).sum(-1) * a[:, i]
        logits = self.scale * logits.unflatten(-1, (self.heads, -1)).sum(-1)  # (P, H)
        highest = logits.new_full((query.shape[0], self.heads), -torch.inf)
        highest = highest.scatter_reduce(0, receivers[:, None].expand_as(logits), logits.detach(), "amax")
        weights = (logits - highest[receivers]).exp()
        total = weights.new_zeros(query.shape[0], self.heads).index_add(0, receivers, weights)
        p = (weights / total[receivers]).repeat_interleave(self.channels // self.heads, -1)  # (P, C)

        degrees = [path.filter_degree for path in self.paths]
        per_path = g[:, degrees] * p[:, None] * (path_weight * self.factors)  # (P, paths, C)
        messages = self.product(value[pairs.senders], harmonics, per_path.flatten(1))
        return messages.new_zeros(query.shape[0], messages.shape[1]).index_add(0, receivers, messages)

    @staticmethod
    def project(kind: str, distance: Tensor, weight_a: Tensor, weight_g: Tensor, cutoff, scaling) -> tuple:
        """a and g of the basis form for listed pairs: distance (P,), scaling (P, degrees, K) or None."""
        phi = radial_basis(kind, distance, weight_a.shape[0], cutoff)[:, None]
        rho = phi.expand(-1, weight_g.shape[1], -1) if scaling is None else phi * scaling
        a = (rho[:, 0] @ weight_a.flatten(1)).unflatten(-1, weight_a.shape[1:])
        return a, torch.stack([rho[:, J] @ weight_g[:, J] for J in range(weight_g.shape[1])], 1)


def to_native(x: Tensor, irreps: Irreps) -> Tensor:
    """Features (T, M, H, D) of ours as e3nn stores them, (T, C * M)."""
    return to_e3nn_layout(to_convention(x.flatten(-2), irreps, "e3nn-norm"), irreps)


def from_native(x: Tensor, irreps: Irreps, heads: int) -> Tensor:
    """The inverse of `to_native`."""
    return from_convention(from_e3nn_layout(x, irreps), irreps, "e3nn-norm").unflatten(-1, (heads, -1))


def _e3nn(irreps: Irreps, channels: int) -> str:
    return " + ".join(f"{channels}x{irrep.degree}{PARITY[irrep.parity]}" for irrep in irreps)


def _slices(irreps: Irreps, channels: int) -> list[slice]:
    return [slice(channels * part.start, channels * part.stop) for part in irreps.slices]
