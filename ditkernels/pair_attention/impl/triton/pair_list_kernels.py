"""Kernels over the flat list of pairs: gradients of what pairs share, and of what a projection was made of.

They need no layout: a pair has a receiver, a sender, its weights p and the gradients ds of its logits. The gradients
of its modulations, da = scale ds q_i k_j and db = p grad_out_i v_j, are made again in registers. All programs have the
same work, whatever the sizes of the molecules.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ditkernels.pair_attention.impl.triton.modulation import features_of
from ditkernels.triton.blocks import channels_of, listed, settled, spread_list
from ditkernels.triton.segments import chunk


@triton.jit
def pair_gradients(
    rows,
    there,
    receiver,
    sender,
    group,
    query,
    key,
    value,
    grad_out,
    weights,
    d_logits,
    scale,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
):
    """da and db of a list of pairs for one block of heads, (pairs, channels) each; 0 for a pair that is not there."""
    channel, exists = channels_of(group, HEADS, WIDTH, BLOCK_HEADS, PADDED)
    keep = there[:, None] & exists[None, :]
    own = receiver[:, None] * (HEADS * WIDTH) + channel[None, :]
    other = sender[:, None] * (HEADS * WIDTH) + channel[None, :]
    ds = spread_list(d_logits, rows, there, group, HEADS, BLOCK_HEADS, PADDED) * scale
    p = spread_list(weights, rows, there, group, HEADS, BLOCK_HEADS, PADDED)
    da = tl.load(query + own, mask=keep, other=0.0).to(tl.float32) * ds
    da *= tl.load(key + other, mask=keep, other=0.0).to(tl.float32)
    db = tl.load(grad_out + own, mask=keep, other=0.0).to(tl.float32) * p
    db *= tl.load(value + other, mask=keep, other=0.0).to(tl.float32)
    return da, db


@triton.jit(do_not_specialize=["num_pairs"])
def weights_kernel(
    query,
    key,
    value,
    grad_out,
    weights,
    d_logits,
    receivers,
    senders,
    e,
    positions,
    v1,
    index,
    partials_a,
    partials_b,
    num_pairs,
    scale,
    FORM: tl.constexpr,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    INNER: tl.constexpr,
    SPLITS: tl.constexpr,
    PAIRS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    FEATURES: tl.constexpr,
    DOT: tl.constexpr,
):
    """Partial sums over pairs of x^T da and x^T db: gradients of projections, and of tables with few rows.

    x: rows of e (FORM "projected"), silu((r_j - r_i) V1) ("displacement"), or a one in the column of the pair's table
    row ("table"). Split s takes every SPLITS-th block of pairs; partials: (SPLITS, INNER, C). Without partials_b, a and
    b are made by the same weights, and partials_a takes both.
    """
    CHANNELS: tl.constexpr = HEADS * WIDTH
    GROUPS: tl.constexpr = (HEADS + BLOCK_HEADS - 1) // BLOCK_HEADS
    group, split = tl.program_id(0) % GROUPS, tl.program_id(0) // GROUPS
    feature = tl.program_id(1) * FEATURES + tl.arange(0, FEATURES)
    sum_a = tl.zeros([FEATURES, BLOCK_HEADS * PADDED], tl.float32)
    sum_b = tl.zeros([FEATURES, BLOCK_HEADS * PADDED], tl.float32)
    for block in range(split, tl.cdiv(num_pairs, PAIRS), SPLITS):
        rows, there, receiver, sender = listed(block, num_pairs, receivers, senders, PAIRS)
        da, db = pair_gradients(
            rows,
            there,
            receiver,
            sender,
            group,
            query,
            key,
            value,
            grad_out,
            weights,
            d_logits,
            scale,
            HEADS,
            WIDTH,
            PADDED,
            BLOCK_HEADS,
        )
        if FORM == "table":
            row = tl.load(index + rows, mask=there, other=0).to(tl.int32)
            x = ((row[None, :] == feature[:, None]) & there[None, :]).to(tl.float32)
        else:
            x = features_of(rows, there, receiver, sender, feature, e, positions, v1, INNER, FORM, True)
        x = settled(x.to(DOT))
        if partials_b is None:
            sum_a = tl.dot(x, settled((da + db).to(DOT)), sum_a, input_precision="ieee")
        else:
            sum_a = tl.dot(x, settled(da.to(DOT)), sum_a, input_precision="ieee")
            sum_b = tl.dot(x, settled(db.to(DOT)), sum_b, input_precision="ieee")
    channel, exists = channels_of(group, HEADS, WIDTH, BLOCK_HEADS, PADDED)
    place = (split * INNER + feature)[:, None].to(tl.int64) * CHANNELS + channel[None, :]
    keep = (feature < INNER)[:, None] & exists[None, :]
    tl.store(partials_a + place, sum_a, mask=keep)
    if partials_b is not None:
        tl.store(partials_b + place, sum_b, mask=keep)


@triton.jit
def rows_kernel(
    query,
    key,
    value,
    grad_out,
    weights,
    d_logits,
    receivers,
    senders,
    partials_a,
    partials_b,
    order,
    starts,
    chunks,
    table_rows,
    scale,
    TABLE_ROWS: tl.constexpr,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    PAIRS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
):
    """Sums of da and db over one chunk of the pairs that read the same table row; for tables with many rows.

    See :mod:`ditkernels.triton.segments`. partials: (capacity, C)
    """
    CHANNELS: tl.constexpr = HEADS * WIDTH
    GROUPS: tl.constexpr = (HEADS + BLOCK_HEADS - 1) // BLOCK_HEADS
    program, group = tl.program_id(0) // GROUPS, tl.program_id(0) % GROUPS
    if tl.load(table_rows + program) >= TABLE_ROWS:
        return
    _, first, last = chunk(program, starts, chunks, table_rows)
    sum_a = tl.zeros([PAIRS, BLOCK_HEADS * PADDED], tl.float32)
    sum_b = tl.zeros([PAIRS, BLOCK_HEADS * PADDED], tl.float32)
    for start in range(first, last, PAIRS):
        place = start + tl.arange(0, PAIRS)
        there = place < last
        pair = tl.load(order + place, mask=there, other=0)
        receiver = tl.load(receivers + pair, mask=there, other=0).to(tl.int64)
        sender = tl.load(senders + pair, mask=there, other=0).to(tl.int64)
        da, db = pair_gradients(
            pair,
            there,
            receiver,
            sender,
            group,
            query,
            key,
            value,
            grad_out,
            weights,
            d_logits,
            scale,
            HEADS,
            WIDTH,
            PADDED,
            BLOCK_HEADS,
        )
        if partials_b is None:
            sum_a += da + db
        else:
            sum_a += da
            sum_b += db
    channel, exists = channels_of(group, HEADS, WIDTH, BLOCK_HEADS, PADDED)
    place = program.to(tl.int64) * CHANNELS + channel
    tl.store(partials_a + place, tl.sum(sum_a, axis=0), mask=exists)
    if partials_b is not None:
        tl.store(partials_b + place, tl.sum(sum_b, axis=0), mask=exists)


@triton.jit(do_not_specialize=["num_pairs"])
def features_kernel(
    query,
    key,
    value,
    grad_out,
    weights,
    d_logits,
    receivers,
    senders,
    weight_a,
    weight_b,
    positions,
    v1,
    d_e,
    partials_v1,
    d_delta,
    num_pairs,
    scale,
    FORM: tl.constexpr,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    INNER: tl.constexpr,
    SPLITS: tl.constexpr,
    PAIRS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    FEATURES: tl.constexpr,
    DOT: tl.constexpr,
):
    """dx = da W_a^T + db W_b^T, summed over all heads, for a block of features.

    FORM "projected": dx is written to d_e (P, INNER). "displacement": x = silu(z), z = delta V1; dz = dx silu'(z) gives
    partials_v1 (SPLITS, 3, INNER), sums over pairs of delta^T dz, and, if wanted, d_delta (blocks of features, P, 3).
    """
    CHANNELS: tl.constexpr = HEADS * WIDTH
    GROUPS: tl.constexpr = (HEADS + BLOCK_HEADS - 1) // BLOCK_HEADS
    split = tl.program_id(0)
    feature = tl.program_id(1) * FEATURES + tl.arange(0, FEATURES)
    real = feature < INNER
    sum_x = tl.zeros([FEATURES], tl.float32)
    sum_y = tl.zeros([FEATURES], tl.float32)
    sum_z = tl.zeros([FEATURES], tl.float32)
    for block in range(split, tl.cdiv(num_pairs, PAIRS), SPLITS):
        rows, there, receiver, sender = listed(block, num_pairs, receivers, senders, PAIRS)
        dx = tl.zeros([PAIRS, FEATURES], tl.float32)
        for group in range(0, GROUPS):
            da, db = pair_gradients(
                rows,
                there,
                receiver,
                sender,
                group,
                query,
                key,
                value,
                grad_out,
                weights,
                d_logits,
                scale,
                HEADS,
                WIDTH,
                PADDED,
                BLOCK_HEADS,
            )
            channel, exists = channels_of(group, HEADS, WIDTH, BLOCK_HEADS, PADDED)
            place = feature[None, :] * CHANNELS + channel[:, None]  # read transposed
            keep = real[None, :] & exists[:, None]
            w = tl.load(weight_a + place, mask=keep, other=0.0).to(DOT)
            if weight_b is None:
                dx = tl.dot(settled((da + db).to(DOT)), w, dx, input_precision="ieee")
            else:
                dx = tl.dot(settled(da.to(DOT)), w, dx, input_precision="ieee")
                w = tl.load(weight_b + place, mask=keep, other=0.0).to(DOT)
                dx = tl.dot(settled(db.to(DOT)), w, dx, input_precision="ieee")
        if FORM == "projected":
            inside = (rows < num_pairs)[:, None] & real[None, :]
            tl.store(d_e + rows[:, None] * INNER + feature[None, :], dx.to(d_e.dtype.element_ty), mask=inside)
        else:
            vx = tl.load(v1 + feature, mask=real, other=0.0)
            vy = tl.load(v1 + INNER + feature, mask=real, other=0.0)
            vz = tl.load(v1 + 2 * INNER + feature, mask=real, other=0.0)
            to, of = positions + sender * 3, positions + receiver * 3
            x = tl.load(to, mask=there, other=0.0) - tl.load(of, mask=there, other=0.0)
            y = tl.load(to + 1, mask=there, other=0.0) - tl.load(of + 1, mask=there, other=0.0)
            z = tl.load(to + 2, mask=there, other=0.0) - tl.load(of + 2, mask=there, other=0.0)
            inner = x[:, None] * vx[None, :] + y[:, None] * vy[None, :] + z[:, None] * vz[None, :]
            sigmoid = 1 / (1 + tl.exp(-inner))
            dz = dx * sigmoid * (1 + inner * (1 - sigmoid))
            if partials_v1 is not None:
                sum_x += tl.sum(x[:, None] * dz, axis=0)
                sum_y += tl.sum(y[:, None] * dz, axis=0)
                sum_z += tl.sum(z[:, None] * dz, axis=0)
            if d_delta is not None:
                target = d_delta + ((tl.zeros_like(rows) + num_pairs) * tl.program_id(1) + rows) * 3
                inside = rows < num_pairs
                tl.store(target, tl.sum(dz * vx[None, :], axis=1), mask=inside)
                tl.store(target + 1, tl.sum(dz * vy[None, :], axis=1), mask=inside)
                tl.store(target + 2, tl.sum(dz * vz[None, :], axis=1), mask=inside)
    if partials_v1 is not None:
        target = partials_v1 + split * 3 * INNER + feature
        tl.store(target, sum_x, mask=real)
        tl.store(target + INNER, sum_y, mask=real)
        tl.store(target + 2 * INNER, sum_z, mask=real)
