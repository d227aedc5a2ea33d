"""Sums over all pairs that read the same row of a table: deterministic, without a buffer of pairs x channels.

The pairs are sorted by their row (stable), every row's run of pairs is cut into chunks of at most CHUNK pairs, one
program sums a chunk, and a second kernel sums the chunks of each row in their order. A row that all pairs share has
many chunks, a row of one pair has one: P / CHUNK + S programs at most.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ditkernels.triton.configs import Config
from ditkernels.triton.launch import launch

CHUNK = 256


@dataclass(frozen=True)
class Segments:
    """The chunks of S rows.

    order: (P,) int64, pair rows sorted by their table row; pairs that are forbidden come last
    starts: (S + 1,) int64, where the run of each table row starts in order
    chunks: (S + 1,) int64, the first chunk of each table row
    rows: (capacity,) int64, the table row of each chunk; S where there is no chunk
    """

    order: Tensor
    starts: Tensor
    chunks: Tensor
    rows: Tensor

    @property
    def capacity(self) -> int:
        return self.rows.shape[0]

    @property
    def arguments(self) -> dict[str, Tensor]:
        """Of kernels that use :func:`chunk`."""
        return {"order": self.order, "starts": self.starts, "chunks": self.chunks, "table_rows": self.rows}


def segments(index: Tensor, receivers: Tensor, table_rows: int) -> Segments:
    """The runs of equal index among the pairs that have a receiver. Does not wait for the device.

    index: (P,) integers; receivers: (P,) integers, negative for pairs that are forbidden; table_rows: S
    """
    keys = torch.where(receivers >= 0, index.to(torch.int32), table_rows)
    keys, order = torch.sort(keys, stable=True)
    every = torch.arange(table_rows + 1, device=index.device)
    starts = torch.searchsorted(keys, every.to(keys.dtype))
    ends = ((starts.diff() + (CHUNK - 1)) // CHUNK).cumsum(0)
    chunks = torch.cat([ends.new_zeros(1), ends])
    capacity = table_rows + index.shape[0] // CHUNK
    rows = torch.searchsorted(ends, torch.arange(capacity, device=index.device), right=True)
    return Segments(order, starts, chunks, rows)


@triton.jit
def chunk(program, starts, chunks, rows):
    """(table row, first, last + 1) of the chunk of a program, as places in `order`."""
    row = tl.load(rows + program)
    first = tl.load(starts + row) + (program - tl.load(chunks + row)) * CHUNK_PAIRS
    return row, first, tl.minimum(first + CHUNK_PAIRS, tl.load(starts + row + 1))


CHUNK_PAIRS = tl.constexpr(CHUNK)


def reduce_segments(partials: Tensor, segments: Segments, out: Tensor) -> None:
    """out[s] = the sum of partials over the chunks of row s, in their order; 0 for a row without pairs.

    partials: (capacity, X) float32; out: (S, X), contiguous
    """
    width = out.shape[1]
    launch(
        reduce_kernel,
        (out.shape[0], triton.cdiv(width, 128)),
        Config(0, 0, 0, warps=4, stages=1),
        partials=partials,
        chunks=segments.chunks,
        out=out,
        WIDTH=width,
        CHUNKS=16,
        COLUMNS=128,
    )


@triton.jit
def reduce_kernel(partials, chunks, out, WIDTH: tl.constexpr, CHUNKS: tl.constexpr, COLUMNS: tl.constexpr):
    """One row and COLUMNS columns of :func:`reduce_segments` per program."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    first, last = tl.load(chunks + row), tl.load(chunks + row + 1)
    total = tl.zeros([CHUNKS, COLUMNS], tl.float32)
    for start in range(first, last, CHUNKS):
        own = start + tl.arange(0, CHUNKS)
        keep = (own < last)[:, None] & (column < WIDTH)[None, :]
        total += tl.load(partials + own[:, None] * WIDTH + column[None, :], mask=keep, other=0.0)
    tl.store(out + row * WIDTH + column, tl.sum(total, 0).to(out.dtype.element_ty), mask=column < WIDTH)
