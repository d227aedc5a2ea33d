"""The forward kernel: one tile of receivers and one block of heads per program, senders block by block."""

from __future__ import annotations

import triton
import triton.language as tl

from ditkernels.pair_attention.impl.triton.modulation import modulations
from ditkernels.triton.blocks import allowed_pairs, channels_of, locate, spread_heads, sum_heads


@triton.jit(do_not_specialize=["pair_stride"])
def forward_kernel(
    query,
    key,
    value,
    a,
    b,
    e,
    weight_a,
    weight_b,
    positions,
    v1,
    index,
    table_a,
    table_b,
    mask,
    bias,
    out,
    lse,
    tile_count,
    tile_molecule,
    tile_first,
    offsets,
    lengths,
    pair_offsets,
    pair_stride,
    scale,
    FORM: tl.constexpr,
    EXCLUDE_SELF: tl.constexpr,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    INNER: tl.constexpr,
    RECEIVERS: tl.constexpr,
    SENDERS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    FEATURES: tl.constexpr,
    DOT: tl.constexpr,
):
    """out and lse of RECEIVERS atoms of a molecule.

    Every lane (i, j-lane, head) has a running maximum and sum of its own, joined after the loop, so that inside it only
    the sum over the channels of a head goes across lanes.
    """
    CHANNELS: tl.constexpr = HEADS * WIDTH
    GROUPS: tl.constexpr = (HEADS + BLOCK_HEADS - 1) // BLOCK_HEADS
    tile, group = tl.program_id(0) // GROUPS, tl.program_id(0) % GROUPS
    if tile >= tl.load(tile_count):
        return
    first, n, token, pair, stride = locate(tile, tile_molecule, tile_first, offsets, lengths, pair_offsets, pair_stride)
    channel, exists = channels_of(group, HEADS, WIDTH, BLOCK_HEADS, PADDED)
    head = group * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS)
    i = first + tl.arange(0, RECEIVERS)
    own = (token + i)[:, None] * CHANNELS + channel[None, :]
    q = tl.load(query + own, mask=(i < n)[:, None] & exists[None, :], other=0.0).to(tl.float32) * scale

    top = tl.full([RECEIVERS, SENDERS, BLOCK_HEADS], float("-inf"), tl.float32)
    total = tl.zeros([RECEIVERS, SENDERS, BLOCK_HEADS], tl.float32)
    sums = tl.zeros([RECEIVERS, SENDERS, BLOCK_HEADS * PADDED], tl.float32)
    for start in range(0, n, SENDERS):
        j = start + tl.arange(0, SENDERS)
        rows = pair + i[:, None] * stride + j[None, :]
        allowed = allowed_pairs(i, j, n, rows, mask, EXCLUDE_SELF)
        others = (token + j)[:, None] * CHANNELS + channel[None, :]
        there = (j < n)[:, None] & exists[None, :]
        k = tl.load(key + others, mask=there, other=0.0).to(tl.float32)
        v = tl.load(value + others, mask=there, other=0.0).to(tl.float32)
        x, y = modulations(
            i,
            j,
            token,
            rows,
            allowed,
            channel,
            exists,
            a,
            b,
            e,
            weight_a,
            weight_b,
            positions,
            v1,
            index,
            table_a,
            table_b,
            CHANNELS,
            INNER,
            FEATURES,
            FORM,
            DOT,
        )
        logits = sum_heads(q[:, None, :] * x * k[None, :, :], BLOCK_HEADS)
        keep = allowed[:, :, None] & (head < HEADS)[None, None, :]
        if bias is not None:
            logits += tl.load(bias + rows[:, :, None] * HEADS + head[None, None, :], mask=keep, other=0.0)
        logits = tl.where(keep, logits, float("-inf"))
        higher = tl.maximum(top, logits)
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        fade = tl.exp(top - shift)
        p = tl.exp(logits - shift)
        total = total * fade + p
        sums = sums * spread_heads(fade, PADDED) + spread_heads(p, PADDED) * (y * v[None, :, :])
        top = higher

    highest = tl.max(top, axis=1)
    shift = tl.where(highest == float("-inf"), 0.0, highest)
    fade = tl.exp(top - shift[:, None, :])
    whole = tl.sum(total * fade, axis=1)
    result = tl.sum(sums * spread_heads(fade, PADDED), axis=1)
    some = whole > 0
    below = tl.where(some, whole, 1.0)
    result = result / tl.reshape(spread_heads(below[:, None, :], PADDED), [RECEIVERS, BLOCK_HEADS * PADDED])
    written = i < stride
    tl.store(out + own, result.to(out.dtype.element_ty), mask=written[:, None] & exists[None, :])
    tl.store(
        lse + (token + i)[:, None] * HEADS + head[None, :],
        tl.where(some, shift + tl.log(below), float("-inf")),
        mask=written[:, None] & (head < HEADS)[None, :],
    )
