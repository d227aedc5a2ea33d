"""Where a tile lies in memory, also beyond 2^31 elements."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from ditkernels.triton.blocks import channels_of, locate, spread_heads, sum_heads


@triton.jit(do_not_specialize=["pair_stride"])
def places_kernel(molecule, first, offsets, lengths, pair_offsets, pair_stride, out):
    start, n, token, pair, stride = locate(1, molecule, first, offsets, lengths, pair_offsets, pair_stride)
    tl.store(out, token + start)
    tl.store(out + 1, (pair + start * stride + n - 1) * 512)


def test_pair_rows_beyond_32_bits():
    molecule, first = torch.tensor([0, 2], dtype=torch.int32), torch.tensor([0, 128], dtype=torch.int32)
    lengths = torch.tensor([1, 1, 50_000], dtype=torch.int32)
    offsets, pair_offsets = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 2**33])
    out = torch.zeros(2, dtype=torch.int64)
    for stride in (0, 60_000):
        places_kernel[(1,)](molecule, first, offsets, lengths, pair_offsets, stride, out)
        assert out.tolist() == [130, (2**33 + 128 * (stride or 50_000) + 49_999) * 512]


@triton.jit
def heads_kernel(x, out, channels, HEADS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr, PADDED: tl.constexpr):
    channel, exists = channels_of(tl.program_id(0), HEADS, WIDTH, BLOCK, PADDED)
    values = tl.load(x + channel, mask=exists, other=0.0)[None, None, :]
    sums = spread_heads(sum_heads(values, BLOCK), PADDED)
    tl.store(out + channel, tl.reshape(sums, [BLOCK * PADDED]), mask=exists)
    tl.store(channels + channel, channel, mask=exists)


def test_heads_of_any_width_in_blocks_of_two():
    x, out, channels = torch.randn(3 * 5), torch.zeros(15), torch.full((15,), -1, dtype=torch.int32)
    heads_kernel[(2,)](x, out, channels, HEADS=3, WIDTH=5, BLOCK=2, PADDED=8)
    assert channels.tolist() == list(range(15))
    torch.testing.assert_close(out, x.reshape(3, 5).sum(1).repeat_interleave(5))
