"""The cases of the SO(3) attention benchmark, as plain data: inputs, sizes, operations.

Symbols: P = B (N^2 - N) ordered pairs (no self pairs), C = H D channels, K radial functions, S rows of the hop scaling,
A irreps of the queries, J filter degrees, F = J^2 filter components, M components.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor

from benchmarks.inputs import PASSES, Inputs, bytes_moved, normal
from ditkernels.so3 import Irreps, paths
from ditkernels.so3_attention import DenseRadial, RadialBasis, so3_attention
from ditkernels.so3_attention.spec import join, spec

HEADS = 8
BASIS = 64
HOPS = 16
FORMS = {
    "dense": "radial weights a (P, A, C) and g (P, J, C)",
    "basis": f"projections of {BASIS} Bernstein functions of the distance, scaled by a table of {HOPS} hop counts",
}
# Irreps of queries, values and outputs.
IRREPS = {"L = 1": "0+ 1-", "L = 2": "0+ 1- 2+", "DiTMC": "0+ 1+ 0- 1-"}
# Irreps and channels that are measured.
LISTS = (("L = 1", 128), ("L = 1", 256), ("L = 2", 128), ("L = 2", 256), ("DiTMC", 256))
# Molecules such that e3nn's tensors of pairs and components fit into memory: 7,344 to 9,900 pairs.
SIZES = ((24, 18), (4, 44), (1, 100))


@dataclass(frozen=True)
class So3Case:
    """One row of the table."""

    form: str
    irreps: str
    channels: int
    batch: int
    size: int
    passes: str
    opponents: ClassVar[tuple[str, ...]] = ("eager", "compile", "e3nn")

    @property
    def name(self) -> str:
        irreps = self.irreps.replace(" = ", "")
        return f"so3 {self.form} {irreps} C{self.channels} {self.batch}x{self.size} {self.passes}"

    @property
    def backward(self) -> bool:
        return self.passes == "forward+backward"

    @property
    def compiled(self) -> bool:
        """Whether torch.compile competes: it takes half a minute or more per graph."""
        return self.channels == 128 and self.size == 44 and self.irreps != "DiTMC"

    @property
    def irreps_list(self) -> Irreps:
        return Irreps(IRREPS[self.irreps])

    @property
    def degrees(self) -> int:
        """Filter degrees, J."""
        return max(self.irreps_list.degrees) + 1

    def inputs(self) -> Inputs:
        """Random inputs, the same for every contestant and every run."""
        g = torch.Generator().manual_seed(1)
        B, N, C, A, J = self.batch, self.size, self.channels, len(self.irreps_list), self.degrees
        query, key, value, cotangent = (normal(g, B, N, self.irreps_list.dim, HEADS, C // HEADS) for _ in range(4))
        positions = normal(g, B, N, 3, std=2.0)
        weight = normal(g, len(paths(self.irreps_list, self.irreps_list, J)), C)
        if self.form == "dense":
            radial = (normal(g, B, N, N, A, C), normal(g, B, N, N, J, C))
        else:
            maps = normal(g, BASIS, A, C, std=0.3), normal(g, BASIS, J, C, std=0.3)
            index = torch.randint(HOPS, (B, N, N), generator=g, dtype=torch.int32)
            radial = (*maps, index, 1 + normal(g, HOPS, J, BASIS, std=0.3))
        return Inputs(self._call, (query, key, value, positions, weight, *radial), cotangent, B, N)

    def _call(self, impl: str, cu_seqlens: Tensor | None, query, key, value, positions, weight, *radial) -> Tensor:
        if self.form == "dense":
            descriptor = DenseRadial(*radial)
        else:
            weight_a, weight_g, index, scaling = radial
            descriptor = RadialBasis("bernstein", weight_a, weight_g, index=index, scaling=scaling)
        options = {"irreps_qk": str(self.irreps_list), "cu_seqlens": cu_seqlens, "exclude_self": True, "impl": impl}
        return so3_attention(query, key, value, positions, weight, descriptor, **options)

    @property
    def bytes_moved(self) -> int:
        return bytes_moved(self.inputs(), self.backward)

    @property
    def flops(self) -> int:
        """Forward per pair and channel: logits 2 M + 2 A, values 2 F M + F + J, and 2 K (A + J) for projections; the
        Clebsch-Gordan sums per atom. Backward: all of it again, its two products with gradients (sums 2 F M and 4 J M;
        for projections two matrix products), and 6 M + 3 A for queries and keys.
        """
        M, A, J = self.irreps_list.dim, len(self.irreps_list), self.degrees
        F, text = J * J, str(self.irreps_list)
        projections = 2 * BASIS * (A + J) if self.form == "basis" else 0
        forward = 2 * M + 2 * A + 2 * F * M + F + J + projections
        backward = forward + 2 * F * M + 4 * J * M + 6 * M + 3 * A + 2 * projections
        couplings = sum(
            (2 * spec(join(text, None, None), J).degrees[2][o] + 1) * (2 * degree + 1)
            for degree, _, o in spec(join(text, None, None), J).steps
        )
        pairs, atoms = self.batch * (self.size**2 - self.size), self.batch * self.size
        per_channel = pairs * forward + 3 * atoms * couplings
        if self.backward:
            per_channel += pairs * backward + 6 * atoms * couplings
        return self.channels * per_channel

    def e3nn(self, inputs: Inputs, mode: str) -> Inputs:
        """The case for e3nn: its own layout and basis, and pairs listed without self pairs, so that no conversion is
        timed.
        """
        from benchmarks.e3nn_reference import Pairs, to_native

        attention = _e3nn_attention(self.irreps_list, self.channels, mode)
        pairs = Pairs.of(self.batch, self.size)
        query, key, value, positions, weight, *radial = inputs.ragged().tensors
        if self.form == "dense":
            radial = [x[pairs.rows] for x in radial]
        else:
            radial[2] = radial[2][pairs.rows].long()

        def call(_impl, _cu_seqlens, query, key, value, positions, weight, *radial):
            if self.form == "basis":
                weight_a, weight_g, index, scaling = radial
                distance = (positions[pairs.senders] - positions[pairs.receivers]).norm(dim=-1)
                radial = attention.project("bernstein", distance, weight_a, weight_g, None, scaling[index])
            return attention(query, key, value, positions, weight, *radial, pairs)

        tokens = tuple(to_native(x, self.irreps_list).contiguous() for x in (query, key, value))
        cotangent = to_native(inputs.ragged().cotangent, self.irreps_list)
        return Inputs(call, (*tokens, positions, weight, *radial), cotangent, self.batch, self.size)

    def from_e3nn(self, out: Tensor) -> Tensor:
        """An output of e3nn in our layout, padded."""
        from benchmarks.e3nn_reference import from_native

        return from_native(out, self.irreps_list, HEADS).unflatten(0, (self.batch, self.size))


@cache
def _e3nn_attention(irreps: Irreps, channels: int, mode: str) -> torch.nn.Module:
    """One module for all cases with these irreps, so that what is compiled for one size serves the others."""
    from benchmarks.e3nn_reference import E3nnAttention

    degrees = max(irreps.degrees) + 1
    return E3nnAttention(irreps, irreps, irreps, degrees, HEADS, channels, mode=mode)


CASES = [
    So3Case(form, irreps, channels, batch, size, passes)
    for form in FORMS
    for irreps, channels in LISTS
    for batch, size in SIZES
    for passes in PASSES
    if irreps != "DiTMC" or (form == "basis" and size == 44)
]
