"""What the blocks learn of atom pairs: made once per batch of molecules, completed by the positions of every step.

One class per embedding. ``descriptors(positions, gate)`` gives every block, in their order, what its attention takes;
``gate`` is 1, or 0 to drop the graph's part (classifier-free guidance). ``tensors()`` are those that depend on the
batch, ``padded(num_pairs)`` has as many pairs, and a number of rows that is a :func:`next_size`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

from torch import Tensor

from ditkernels.models.molecule.padding import next_size, pad_rows
from ditkernels.pair_attention import DisplacementPair, TablePair

Tables = tuple[tuple[Tensor, Tensor], ...]
"""For every block the rows of a and of b, (S, F) each."""


class Pairs(Protocol):
    """What :class:`ditkernels.models.ditmc.model.Conditioning` holds of the pairs."""

    def descriptors(self, positions: Tensor, gate: float) -> Iterator: ...

    def tensors(self) -> list[Tensor]: ...

    def padded(self, num_pairs: int) -> Pairs: ...


@dataclass(frozen=True)
class TokenPairs:
    """aPE: the graph's tokens alone.

    index: (P,) int32, row of the pair's token
    tables: maps of the tokens
    """

    index: Tensor
    tables: Tables

    def descriptors(self, positions: Tensor, gate: float) -> Iterator[TablePair]:
        for a, b in _gated(self.tables, gate):
            yield TablePair(self.index, a, b)

    def tensors(self) -> list[Tensor]:
        return [self.index, *chain(*self.tables)]

    def padded(self, num_pairs: int) -> Pairs:
        return replace(self, index=pad_rows(self.index, num_pairs), tables=_padded(self.tables))


@dataclass(frozen=True)
class DisplacementPairs(TokenPairs):
    """rPE: the graph's tokens, and a network of the displacement.

    hidden: (3, F), first layer of the displacement network
    maps: for every block the matrices (F, F) from the hidden layer to a and to b
    """

    hidden: Tensor
    maps: Tables

    def descriptors(self, positions: Tensor, gate: float) -> Iterator[DisplacementPair]:
        for weights, tables in zip(self.maps, _gated(self.tables, gate), strict=True):
            yield DisplacementPair(positions, self.hidden, *weights, self.index, *tables)


@dataclass(frozen=True)
class DirectionPair:
    """Directions and distances of atom pairs, and the graph's say in them.

    positions: (T, 3) in Å
    index: (P,) int32, rows of ``scaling``
    scaling: (S, degrees, K) factors of the radial functions for every degree of the filter
    """

    positions: Tensor
    index: Tensor
    scaling: Tensor


@dataclass(frozen=True)
class DirectionPairs:
    """PE(3): the graph's tokens are what the factors of the radial functions differ from 1 by; all blocks share them.

    index: (P,) int32, row of the pair's token
    tokens: (S, degrees, K)
    blocks: their number
    """

    index: Tensor
    tokens: Tensor
    blocks: int

    def descriptors(self, positions: Tensor, gate: float) -> Iterator[DirectionPair]:
        pair = DirectionPair(positions, self.index, 1.0 + gate * self.tokens)
        for _ in range(self.blocks):
            yield pair

    def tensors(self) -> list[Tensor]:
        return [self.index, self.tokens]

    def padded(self, num_pairs: int) -> DirectionPairs:
        tokens = pad_rows(self.tokens, next_size(len(self.tokens)))
        return replace(self, index=pad_rows(self.index, num_pairs), tokens=tokens)


def _gated(tables: Tables, gate: float) -> Tables:
    """The maps of a block are linear, so this is the gate times the tokens."""
    return tables if gate == 1.0 else tuple((gate * a, gate * b) for a, b in tables)


def _padded(tables: Tables) -> Tables:
    return tuple((pad_rows(a, next_size(len(a))), pad_rows(b, next_size(len(b)))) for a, b in tables)
