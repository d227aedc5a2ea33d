"""The backward kernels that follow the molecules: one tile of senders and one block of heads per program."""

from __future__ import annotations

import triton
import triton.language as tl

from ditkernels.pair_attention.impl.triton.modulation import modulations
from ditkernels.triton.blocks import allowed_pairs, channels_of, locate, spread_heads, sum_heads


@triton.jit(do_not_specialize=["pair_stride"])
def backward_kernel(
    query,
    key,
    value,
    out,
    lse,
    grad_out,
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
    d_query,
    d_key,
    d_value,
    d_a,
    d_b,
    partials,
    weights,
    d_logits,
    receivers,
    senders,
    tile_count,
    tile_molecule,
    tile_first,
    tile_row,
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
    """Everything that belongs to a pair or an atom, for SENDERS atoms of a molecule and all its receivers.

    Every pair is visited once: a and b are read once, their gradients written once. d_key and d_value are sums over
    receivers, kept in registers. d_query is a sum over senders: complete if the molecule has one tile, else a row of
    partials. Kernels over the list of pairs need weights p and d_logits (P, H), and the list: receivers and senders
    (P,), receiver -1 for a pair that is not allowed. What is None is not wanted.
    """
    CHANNELS: tl.constexpr = HEADS * WIDTH
    GROUPS: tl.constexpr = (HEADS + BLOCK_HEADS - 1) // BLOCK_HEADS
    BLOCK: tl.constexpr = BLOCK_HEADS * PADDED
    tile, group = tl.program_id(0) // GROUPS, tl.program_id(0) % GROUPS
    if tile >= tl.load(tile_count):
        return
    first, n, token, pair, stride = locate(tile, tile_molecule, tile_first, offsets, lengths, pair_offsets, pair_stride)
    channel, exists = channels_of(group, HEADS, WIDTH, BLOCK_HEADS, PADDED)
    head = group * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS)
    real = head < HEADS
    j = first + tl.arange(0, SENDERS)
    others = (token + j)[:, None] * CHANNELS + channel[None, :]
    there = (j < n)[:, None] & exists[None, :]
    k = tl.load(key + others, mask=there, other=0.0).to(tl.float32)
    v = tl.load(value + others, mask=there, other=0.0).to(tl.float32)
    alone = stride <= SENDERS
    row = tl.load(tile_row + tile)

    dk = tl.zeros([RECEIVERS, SENDERS, BLOCK], tl.float32)
    dv = tl.zeros([RECEIVERS, SENDERS, BLOCK], tl.float32)
    for start in range(0, stride.to(tl.int32), RECEIVERS):
        i = start + tl.arange(0, RECEIVERS)
        rows = pair + i[:, None] * stride + j[None, :]
        allowed = allowed_pairs(i, j, n, rows, mask, EXCLUDE_SELF)
        own = (token + i)[:, None] * CHANNELS + channel[None, :]
        mine = (i < n)[:, None] & exists[None, :]
        q = tl.load(query + own, mask=mine, other=0.0).to(tl.float32) * scale
        g = tl.load(grad_out + own, mask=mine, other=0.0).to(tl.float32)
        o = tl.load(out + own, mask=mine, other=0.0).to(tl.float32)
        norm = tl.load(
            lse + (token + i)[:, None] * HEADS + head[None, :],
            mask=(i < n)[:, None] & real[None, :],
            other=float("-inf"),
        )
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
        keep = allowed[:, :, None] & (norm > float("-inf"))[:, None, :]
        places = rows[:, :, None] * HEADS + head[None, None, :]
        logits = sum_heads(q[:, None, :] * x * k[None, :, :], BLOCK_HEADS)
        if bias is not None:
            logits += tl.load(bias + places, mask=keep, other=0.0)
        p = tl.where(keep, tl.exp(logits - norm[:, None, :]), 0.0)
        dp = sum_heads(g[:, None, :] * y * v[None, :, :], BLOCK_HEADS)
        delta = sum_heads((g * o)[:, None, :], BLOCK_HEADS)
        ds = p * (dp - delta)
        spread_p, spread_ds = spread_heads(p, PADDED), spread_heads(ds, PADDED)
        dx = spread_ds * q[:, None, :]
        dy = spread_p * g[:, None, :]
        dk += dx * x
        dv += dy * y
        dq = tl.sum(spread_ds * x * k[None, :, :], axis=1) * scale
        if alone:
            tl.store(d_query + own, dq.to(d_query.dtype.element_ty), mask=(i < stride)[:, None] & exists[None, :])
        else:
            tl.store(partials + (row + i)[:, None] * CHANNELS + channel[None, :], dq, mask=mine)

        written = (i < stride)[:, None] & (j < stride)[None, :]
        target = rows[:, :, None] * CHANNELS + channel[None, None, :]
        wide = written[:, :, None] & exists[None, None, :]
        if d_a is not None:
            da = dx * k[None, :, :]
            if b is None:
                da += dy * v[None, :, :]
            tl.store(d_a + target, da.to(d_a.dtype.element_ty), mask=wide)
        if d_b is not None:
            tl.store(d_b + target, (dy * v[None, :, :]).to(d_b.dtype.element_ty), mask=wide)
        if d_logits is not None:
            tl.store(d_logits + places, ds, mask=written[:, :, None] & real[None, None, :])
        if weights is not None:
            tl.store(weights + places, p, mask=written[:, :, None] & real[None, None, :])
            if group == 0:
                to = tl.where(allowed, (token + i)[:, None] + tl.zeros_like(rows), -1)
                tl.store(receivers + rows, to.to(tl.int32), mask=written)
                of = (token + j)[None, :] + tl.zeros_like(rows)
                tl.store(senders + rows, of.to(tl.int32), mask=written)

    written = (j < stride)[:, None] & exists[None, :]
    tl.store(d_key + others, tl.sum(dk, axis=0).to(d_key.dtype.element_ty), mask=written)
    tl.store(d_value + others, tl.sum(dv, axis=0).to(d_value.dtype.element_ty), mask=written)


@triton.jit(do_not_specialize=["pair_stride"])
def reduce_kernel(
    partials,
    d_query,
    tile_count,
    tile_molecule,
    tile_first,
    tile_row,
    offsets,
    lengths,
    pair_offsets,
    pair_stride,
    CHANNELS: tl.constexpr,
    ATOMS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """d_query of the atoms of a tile: the sum of their partials over the tiles of the molecule, in their order."""
    tile = tl.program_id(0)
    if tile >= tl.load(tile_count):
        return
    first, n, token, _, stride = locate(tile, tile_molecule, tile_first, offsets, lengths, pair_offsets, pair_stride)
    if stride <= ATOMS:
        return
    base = tl.load(tile_row + tile) - (first // ATOMS) * n.to(tl.int64)
    i = first + tl.arange(0, ATOMS)
    channel = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    exists = (channel < CHANNELS)[None, :]
    total = tl.zeros([ATOMS, COLUMNS], tl.float32)
    for t in range(0, tl.cdiv(stride, ATOMS).to(tl.int32)):
        place = (base + t * n.to(tl.int64) + i)[:, None] * CHANNELS + channel[None, :]
        total += tl.load(partials + place, mask=(i < n)[:, None] & exists, other=0.0)
    place = (token + i)[:, None] * CHANNELS + channel[None, :]
    tl.store(d_query + place, total.to(d_query.dtype.element_ty), mask=(i < stride)[:, None] & exists)
