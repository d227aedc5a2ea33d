"""Device functions of all kernels: where a tile lies, and heads inside a block of channels."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def locate(tile, tile_molecule, tile_first, offsets, lengths, pair_offsets, pair_stride):
    """(first atom of the tile, n, first token, first pair row, row stride) of the molecule of a tile.

    The tile is written up to atom `stride`: up to n in a ragged batch, over the padding in a padded one. The first
    token, the first pair row and the stride are 64-bit, so that whatever is computed from them is, too.
    """
    molecule = tl.load(tile_molecule + tile)
    first = tl.load(tile_first + tile)
    n = tl.load(lengths + molecule)
    stride = tl.where(pair_stride > 0, pair_stride, n).to(tl.int64)
    return first, n, tl.load(offsets + molecule), tl.load(pair_offsets + molecule), stride


@triton.jit
def channels_of(group, HEADS: tl.constexpr, WIDTH: tl.constexpr, BLOCK_HEADS: tl.constexpr, PADDED: tl.constexpr):
    """Channels h * D + d of a block of heads, and which of them exist: (BLOCK_HEADS * PADDED,) each.

    WIDTH: D; PADDED: the power of two above it, the width of a head inside the block
    """
    place = tl.arange(0, BLOCK_HEADS * PADDED)
    head, d = group * BLOCK_HEADS + place // PADDED, place % PADDED
    return head * WIDTH + d, (head < HEADS) & (d < WIDTH)


@triton.jit
def sum_heads(x, BLOCK_HEADS: tl.constexpr):
    """(R, S, heads * D) -> (R, S, heads): the sum over the channels of each head."""
    PADDED: tl.constexpr = x.shape[2] // BLOCK_HEADS
    return tl.sum(tl.reshape(x, [x.shape[0], x.shape[1], BLOCK_HEADS, PADDED]), axis=3)


@triton.jit
def spread_heads(x, PADDED: tl.constexpr):
    """(R, S, heads) -> (R, S, heads * D): the value of each head for its channels."""
    wide = tl.broadcast_to(x[:, :, :, None], [x.shape[0], x.shape[1], x.shape[2], PADDED])
    return tl.reshape(wide, [x.shape[0], x.shape[1], x.shape[2] * PADDED])


@triton.jit
def allowed_pairs(i, j, n, rows, mask, EXCLUDE_SELF: tl.constexpr):
    """(R, S): inside the molecule, in the mask, and not i = j where self pairs are excluded."""
    inside = (i < n)[:, None] & (j < n)[None, :]
    if EXCLUDE_SELF:
        inside = inside & (i[:, None] != j[None, :])
    if mask is not None:
        inside = inside & (tl.load(mask + rows, mask=inside, other=0) != 0)
    return inside


@triton.jit
def listed(block, num_pairs, receivers, senders, PAIRS: tl.constexpr):
    """A block of PAIRS pairs: (rows, there, receiver, sender), 64-bit."""
    rows = tl.full([PAIRS], PAIRS, tl.int64) * block + tl.arange(0, PAIRS)
    receiver = tl.load(receivers + rows, mask=rows < num_pairs, other=-1).to(tl.int64)
    there = receiver >= 0
    return rows, there, receiver, tl.load(senders + rows, mask=there, other=0).to(tl.int64)


@triton.jit
def spread_list(x, rows, there, group, HEADS: tl.constexpr, BLOCK_HEADS: tl.constexpr, PADDED: tl.constexpr):
    """Values (P, H) of a list of pairs for the channels of a block of heads: (pairs, heads * D)."""
    head = group * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS)
    place = rows[:, None] * HEADS + head[None, :]
    values = tl.load(x + place, mask=there[:, None] & (head < HEADS)[None, :], other=0.0)
    return tl.reshape(spread_heads(values[:, None, :], PADDED), [rows.shape[0], BLOCK_HEADS * PADDED])


@triton.jit
def settled(x):
    """x, and an end to the search for its layout: a sum over an axis of one element.

    Without it the compiler computes what leads to an operand of a matrix product in the layout of that operand, which
    every warp of a program holds in full: all of it as many times as there are warps, and in as many registers.
    """
    return tl.sum(x[:, :, None], axis=2)
