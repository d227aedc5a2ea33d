"""Pair descriptors: how the modulations a_ij and b_ij of pair attention are given.

What is known about a and b decides the cost of the operator, so each descriptor is its own *form* of it. Shapes use
these symbols: T tokens, P ordered pairs (see :mod:`ditkernels.layout`), C = H * D channels, S table rows, E pair
features, F hidden features. In a padded batch every (P, ...) tensor is (B, N, N, ...) and every (T, ...) tensor is (B,
N, ...).

``None`` for the second modulation means "the same as the first".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ditkernels.attention import fields
from ditkernels.attention.fields import Field


@dataclass(frozen=True)
class DensePair:
    """a and b are rows of tensors (P, C), as eqs. 15-16 of the paper write them.

    a: (P, C), dtype of the tokens, contiguous
    b: (P, C) or None
    """

    form: ClassVar[str] = "dense"
    a: Tensor
    b: Tensor | None = None


@dataclass(frozen=True)
class TablePair:
    """a and b are rows of tables, picked by an integer per pair: a_ij = table_a[index_ij].

    Hop counts (a few rows shared by all pairs) and bond-pair embeddings (one row per bond) are of this kind.

    index: (P,) uint8, int16, int32 or int64, 0 <= index < S
    table_a: (S, C), dtype of the tokens
    table_b: (S, C) or None
    """

    form: ClassVar[str] = "table"
    index: Tensor
    table_a: Tensor
    table_b: Tensor | None = None


@dataclass(frozen=True)
class ProjectedPair:
    """a and b are projections of one pair embedding: a_ij = e_ij @ weight_a, b_ij = e_ij @ weight_b.

    e: (P, E), dtype of the tokens, contiguous
    weight_a: (E, C)
    weight_b: (E, C) or None
    """

    form: ClassVar[str] = "projected"
    e: Tensor
    weight_a: Tensor
    weight_b: Tensor | None = None


@dataclass(frozen=True)
class DisplacementPair:
    """a and b come from the displacement r_j - r_i (sender minus receiver) and, optionally, a table:

        hidden_ij = silu((r_j - r_i) @ v1)
        a_ij = hidden_ij @ weight_a + table_a[index_ij]
        b_ij = hidden_ij @ weight_b + table_b[index_ij]

    positions: (T, 3), Å or any unit that v1 expects; float32 (float64 for float64 tokens), in every precision of the
        tokens
    v1: (3, F), dtype of positions
    weight_a: (F, C), dtype of the tokens
    weight_b: (F, C) or None (weight_a serves both)
    index: (P,) integers and table_a: (S, C), both or neither
    table_b: (S, C) or None (table_a serves both)
    """

    form: ClassVar[str] = "displacement"
    positions: Tensor
    v1: Tensor
    weight_a: Tensor
    weight_b: Tensor | None = None
    index: Tensor | None = None
    table_a: Tensor | None = None
    table_b: Tensor | None = None


PairDescriptor = DensePair | TablePair | ProjectedPair | DisplacementPair


# The one table of forms: tensors in the order of the descriptor's fields. Checks, schemas, gradients and autocast
# are generated from it.
FORMS: dict[str, tuple[Field, ...]] = {
    "dense": (
        Field("a", ("P", "C")),
        Field("b", ("P", "C"), optional=True),
    ),
    "table": (
        Field("index", ("P",), kind="index"),
        Field("table_a", ("S", "C")),
        Field("table_b", ("S", "C"), optional=True),
    ),
    "projected": (
        Field("e", ("P", "E")),
        Field("weight_a", ("E", "C")),
        Field("weight_b", ("E", "C"), optional=True),
    ),
    "displacement": (
        Field("positions", ("T", 3), kind="geometry"),
        Field("v1", (3, "F"), kind="geometry"),
        Field("weight_a", ("F", "C")),
        Field("weight_b", ("F", "C"), optional=True),
        Field("index", ("P",), kind="index", optional=True),
        Field("table_a", ("S", "C"), optional=True),
        Field("table_b", ("S", "C"), optional=True),
    ),
}


def tensors(pair: PairDescriptor) -> tuple[Tensor | None, ...]:
    """The tensors of a descriptor in the order of :data:`FORMS`."""
    return fields.tensors(pair, FORMS[pair.form])
