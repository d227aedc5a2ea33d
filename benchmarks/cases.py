"""The cases of the pair attention benchmark, as plain data: inputs, sizes, operations.

Symbols: P = B N^2 ordered pairs, C = H D channels, E = F = C pair features or hidden units, S rows of a table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from benchmarks.inputs import PASSES, SIZES, Inputs, bytes_moved, normal
from ditkernels.pair_attention import DensePair, DisplacementPair, ProjectedPair, TablePair, pair_attention

CHANNELS = 256
HEADS = 8
TABLE_ROWS = 24


@dataclass(frozen=True)
class Form:
    """A kind of pair information. `tensors(batch, size, generator)` makes its tensors, `descriptor` takes them.

    flops_per_pair: operations per pair that the form adds to those of the attention itself.
    """

    name: str
    meaning: str
    tensors: Callable[[int, int, torch.Generator], tuple[Tensor, ...]]
    descriptor: type
    flops_per_pair: int


def _index(batch: int, size: int, generator: torch.Generator) -> Tensor:
    return torch.randint(TABLE_ROWS, (batch, size, size), generator=generator, dtype=torch.int32)


def _dense(batch, size, g):
    return (normal(g, batch, size, size, CHANNELS),)


def _dense_ab(batch, size, g):
    return normal(g, batch, size, size, CHANNELS), normal(g, batch, size, size, CHANNELS)


def _table(batch, size, g):
    return _index(batch, size, g), normal(g, TABLE_ROWS, CHANNELS), normal(g, TABLE_ROWS, CHANNELS)


def _projected(batch, size, g):
    weights = (normal(g, CHANNELS, CHANNELS, std=CHANNELS**-0.5) for _ in range(2))
    return normal(g, batch, size, size, CHANNELS), *weights


def _displacement(batch, size, g):
    weights = (normal(g, CHANNELS, CHANNELS, std=CHANNELS**-0.5) for _ in range(2))
    tables = (normal(g, TABLE_ROWS, CHANNELS) for _ in range(2))
    positions, first = normal(g, batch, size, 3, std=3.0), normal(g, 3, CHANNELS, std=3**-0.5)
    return positions, first, *weights, _index(batch, size, g), *tables


FORMS = {
    form.name: form
    for form in (
        Form("dense", "one tensor u (P, C) for logits and values", _dense, DensePair, 0),
        Form("dense_ab", "two tensors (P, C)", _dense_ab, DensePair, 0),
        Form("table", f"rows of two tables ({TABLE_ROWS}, C), picked by an int32 per pair", _table, TablePair, 0),
        Form("projected", "two projections of a tensor (P, C)", _projected, ProjectedPair, 4 * CHANNELS**2),
        Form(
            "displacement",
            "silu((r_j - r_i) V) M + table row, for logits and values; F = C",
            _displacement,
            DisplacementPair,
            4 * CHANNELS**2 + 10 * CHANNELS,
        ),
    )
}


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    form: Form
    batch: int
    size: int
    passes: str
    opponents: ClassVar[tuple[str, ...]] = ("eager", "compile")

    @property
    def name(self) -> str:
        return f"{self.form.name} {self.batch}x{self.size} {self.passes}"

    @property
    def backward(self) -> bool:
        return self.passes == "forward+backward"

    @property
    def compiled(self) -> bool:
        """Whether torch.compile competes: it takes 5 to 30 s per graph, so all sizes only for the dense form."""
        return self.form.name == "dense" or self.size in (44, 100)

    def inputs(self) -> Inputs:
        """Random inputs, the same for every contestant and every run."""
        g = torch.Generator().manual_seed(1)
        tokens = tuple(normal(g, self.batch, self.size, HEADS, CHANNELS // HEADS) for _ in range(4))
        tensors = (*tokens[:3], *self.form.tensors(self.batch, self.size, g))
        return Inputs(self._call, tensors, tokens[3], self.batch, self.size)

    def _call(self, impl: str, cu_seqlens: Tensor | None, query: Tensor, key: Tensor, value: Tensor, *pair: Tensor):
        return pair_attention(query, key, value, self.form.descriptor(*pair), cu_seqlens=cu_seqlens, impl=impl)

    @property
    def bytes_moved(self) -> int:
        return bytes_moved(self.inputs(), self.backward)

    @property
    def flops(self) -> int:
        """6 per pair and channel forward; 19 backward with the logits computed again, the pair maps three times."""
        pairs = self.batch * self.size**2
        forward = 6 * CHANNELS + self.form.flops_per_pair
        backward = 19 * CHANNELS + 3 * self.form.flops_per_pair
        return pairs * (forward + (backward if self.backward else 0))


def _two_sizes_only(form: Form, size: int) -> bool:
    return form.name == "dense_ab" and size not in (44, 100)


CASES = [
    Case(form, batch, size, passes)
    for form in FORMS.values()
    for batch, size in SIZES
    for passes in PASSES
    if not _two_sizes_only(form, size)
]
