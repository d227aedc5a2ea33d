"""Sums over the pairs of every table row."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl

from ditkernels.triton.configs import Config
from ditkernels.triton.launch import launch
from ditkernels.triton.segments import CHUNK, chunk, reduce_segments, segments


@triton.jit
def sum_kernel(x, partials, order, starts, chunks, table_rows, TABLE_ROWS: tl.constexpr):
    """partials[program] = sum of x over the pairs of a chunk."""
    program = tl.program_id(0)
    if tl.load(table_rows + program) >= TABLE_ROWS:
        return
    _, first, last = chunk(program, starts, chunks, table_rows)
    total = tl.zeros([64], tl.float32)
    for start in range(first, last, 64):
        place = start + tl.arange(0, 64)
        pair = tl.load(order + place, mask=place < last, other=0)
        total += tl.load(x + pair, mask=place < last, other=0.0)
    tl.store(partials + program, tl.sum(total, 0))


def summed(x: torch.Tensor, index: torch.Tensor, receivers: torch.Tensor, rows: int) -> torch.Tensor:
    runs = segments(index, receivers, rows)
    partials, out = torch.full((runs.capacity, 1), torch.nan), torch.full((rows, 1), torch.nan)
    config = Config(0, 0, 0)
    launch(sum_kernel, (runs.capacity,), config, x=x, partials=partials, **runs.arguments, TABLE_ROWS=rows)
    reduce_segments(partials, runs, out)
    return out[:, 0]


@pytest.mark.parametrize("pairs", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 40 * CHUNK + 3])
def test_one_row_for_nearly_all_pairs_and_many_rows_for_few(pairs):
    index = torch.zeros(pairs, dtype=torch.int16)
    few = torch.randperm(pairs)[: pairs // 20]
    index[few] = torch.randint(0, 300, (few.shape[0],), dtype=torch.int16)
    receivers = torch.randint(-1, 9, (pairs,), dtype=torch.int32)
    index[receivers < 0] = 9999  # never read
    x = torch.randn(pairs)
    there = receivers >= 0
    expected = torch.zeros(300).index_add(0, index[there].long(), x[there])
    torch.testing.assert_close(summed(x, index, receivers, 300), expected, atol=2e-4, rtol=1e-5)


def test_equal_bits():
    index, x = torch.randint(0, 7, (5000,)), torch.randn(5000)
    first, second = (summed(x, index, torch.zeros(5000, dtype=torch.int32), 7) for _ in range(2))
    assert torch.equal(first, second)
