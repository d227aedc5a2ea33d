"""The cases of the pair attention benchmark, as plain data: sizes, inputs, bytes that must move, operations.

Symbols: T = B N atoms, P = B N^2 ordered pairs, C = H D channels, E = F = C pair features or hidden units, S rows of a
table. Bytes count every tensor once: a forward pass reads q, k, v and the pair tensors and writes the output; a
backward pass reads them again with the output and its gradient, and writes one gradient per floating input. Operations
count a multiplication or an addition as one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ditkernels.pair_attention import DensePair, DisplacementPair, ProjectedPair, TablePair

CHANNELS = 256
HEADS = 8
TABLE_ROWS = 24
DTYPE = torch.float32


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


def _normal(generator: torch.Generator, *shape: int, std: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=DTYPE) * std


def _index(batch: int, size: int, generator: torch.Generator) -> Tensor:
    return torch.randint(TABLE_ROWS, (batch, size, size), generator=generator, dtype=torch.int32)


def _dense(batch, size, g):
    return (_normal(g, batch, size, size, CHANNELS),)


def _dense_ab(batch, size, g):
    return _normal(g, batch, size, size, CHANNELS), _normal(g, batch, size, size, CHANNELS)


def _table(batch, size, g):
    return _index(batch, size, g), _normal(g, TABLE_ROWS, CHANNELS), _normal(g, TABLE_ROWS, CHANNELS)


def _projected(batch, size, g):
    weights = (_normal(g, CHANNELS, CHANNELS, std=CHANNELS**-0.5) for _ in range(2))
    return _normal(g, batch, size, size, CHANNELS), *weights


def _displacement(batch, size, g):
    weights = (_normal(g, CHANNELS, CHANNELS, std=CHANNELS**-0.5) for _ in range(2))
    tables = (_normal(g, TABLE_ROWS, CHANNELS) for _ in range(2))
    positions, first = _normal(g, batch, size, 3, std=3.0), _normal(g, 3, CHANNELS, std=3**-0.5)
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

# (molecules, atoms per molecule): the mean sizes of QM9 and of GEOM-DRUGS, and larger ones.
SIZES = ((64, 18), (16, 44), (4, 100), (1, 181))
PASSES = ("forward", "forward+backward")


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    form: Form
    batch: int
    size: int
    passes: str

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
        tokens = tuple(_normal(g, self.batch, self.size, HEADS, CHANNELS // HEADS) for _ in range(4))
        return Inputs(tokens[:3], self.form.tensors(self.batch, self.size, g), tokens[3], self.form.descriptor)

    @property
    def bytes_moved(self) -> int:
        inputs = self.inputs()
        tokens = sum(x.nbytes for x in inputs.tokens)
        pair = sum(x.nbytes for x in inputs.pair)
        gradients = sum(x.nbytes for x in (*inputs.tokens, *inputs.pair) if x.is_floating_point())
        output = inputs.cotangent.nbytes
        forward = tokens + pair + output
        return forward + (tokens + pair + 2 * output + gradients if self.backward else 0)

    @property
    def flops(self) -> int:
        """6 per pair and channel forward; 19 backward with the logits computed again, the pair maps three times."""
        pairs = self.batch * self.size**2
        forward = 6 * CHANNELS + self.form.flops_per_pair
        backward = 19 * CHANNELS + 3 * self.form.flops_per_pair
        return pairs * (forward + (backward if self.backward else 0))


@dataclass(frozen=True)
class Inputs:
    """Tensors of a case: query, key, value (B, N, H, D), pair tensors, cotangent of the output, descriptor class.

    In the ragged layout, (T, H, D) and (P, ...), `cu_seqlens` is given, too.
    """

    tokens: tuple[Tensor, Tensor, Tensor]
    pair: tuple[Tensor, ...]
    cotangent: Tensor
    descriptor: type
    cu_seqlens: Tensor | None = None

    def ragged(self) -> Inputs:
        """The same numbers in the ragged layout; pair tensors are (B, N, N, ...), positions (B, N, 3), or weights."""
        batch, size = self.tokens[0].shape[:2]

        def flat(x: Tensor) -> Tensor:
            if x.shape[:3] == (batch, size, size):
                return x.flatten(0, 2)
            return x.flatten(0, 1) if x.shape == (batch, size, 3) else x

        cu_seqlens = torch.arange(batch + 1, dtype=torch.int32) * size
        tokens, pair = tuple(x.flatten(0, 1) for x in self.tokens), tuple(map(flat, self.pair))
        return Inputs(tokens, pair, self.cotangent.flatten(0, 1), self.descriptor, cu_seqlens)

    def to(self, dtype: torch.dtype) -> Inputs:
        def cast(x: Tensor) -> Tensor:
            return x.to(dtype) if x.is_floating_point() else x

        tokens, pair = tuple(map(cast, self.tokens)), tuple(map(cast, self.pair))
        return Inputs(tokens, pair, cast(self.cotangent), self.descriptor, self.cu_seqlens)


def _two_sizes_only(form: Form, size: int) -> bool:
    return form.name == "dense_ab" and size not in (44, 100)


CASES = [
    Case(form, batch, size, passes)
    for form in FORMS.values()
    for batch, size in SIZES
    for passes in PASSES
    if not _two_sizes_only(form, size)
]
