"""The backward kernels that follow the molecules: what belongs to receivers, then what belongs to senders."""

from __future__ import annotations

import triton
import triton.language as tl

from ditkernels.so3_attention.impl.triton.forward_kernel import (
    coupled,
    coupled_by,
    irrep_product,
    path_weights,
)
from ditkernels.so3_attention.impl.triton.geometry import direction, harmonics, scaled
from ditkernels.so3_attention.impl.triton.terms import path_count
from ditkernels.so3_attention.impl.triton.weights import components, tile_basis, tile_weight
from ditkernels.triton.blocks import allowed_pairs, channels_of, locate, spread_heads, sum_heads


@triton.jit(do_not_specialize=["pair_stride"])
def rows_kernel(
    query,
    key,
    value,
    out,
    lse,
    grad_out,
    positions,
    path_weight,
    a,
    g,
    weight_a,
    weight_g,
    index,
    scaling,
    logarithms,
    mask,
    bias,
    d_query,
    weights,
    d_logits,
    receivers,
    senders,
    tile_count,
    tile_molecule,
    tile_first,
    offsets,
    lengths,
    pair_offsets,
    pair_stride,
    scale,
    QUERIES: tl.constexpr,
    IRREPS: tl.constexpr,
    VALUES: tl.constexpr,
    OUTPUTS: tl.constexpr,
    DEGREES: tl.constexpr,
    INTO: tl.constexpr,
    EXCLUDE_SELF: tl.constexpr,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
    KIND: tl.constexpr,
    CUTOFF: tl.constexpr,
    LATE: tl.constexpr,
    WIDE: tl.constexpr,
    DOT: tl.constexpr,
    RECEIVERS: tl.constexpr,
    SENDERS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
):
    """p and the gradients of the logits (P, H) of RECEIVERS atoms, and the list of pairs: receivers and senders (P,),
    receiver -1 for a pair that is not allowed. Also d_query, unless it is None.

    LATE: path weights are read where they are used, and not kept in registers
    """
    CHANNELS: tl.constexpr = HEADS * WIDTH
    GROUPS: tl.constexpr = (HEADS + BLOCK_HEADS - 1) // BLOCK_HEADS
    LANES: tl.constexpr = BLOCK_HEADS * PADDED
    MQ: tl.constexpr = len(QUERIES)
    tile, group = tl.program_id(0) // GROUPS, tl.program_id(0) % GROUPS
    if tile >= tl.load(tile_count):
        return
    first, n, token, pair, stride = locate(tile, tile_molecule, tile_first, offsets, lengths, pair_offsets, pair_stride)
    channel, exists = channels_of(group, HEADS, WIDTH, BLOCK_HEADS, PADDED)
    head = group * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS)
    real_heads = (head < HEADS)[None, None, :]
    i = first + tl.arange(0, RECEIVERS)
    receiver = (token + i)[:, None, None]
    lane = channel[None, None, :]
    real = exists[None, None, :]
    mine = (i < n)[:, None, None] & real
    q = components(query, receiver * (MQ * CHANNELS) + lane, mine, MQ, CHANNELS)
    go = components(grad_out, receiver * (OUTPUTS * CHANNELS) + lane, mine, OUTPUTS, CHANNELS)
    result = components(out, receiver * (OUTPUTS * CHANNELS) + lane, mine, OUTPUTS, CHANNELS)
    if not LATE:
        w = components(path_weight, lane, real, path_count(INTO), CHANNELS)
    delta = tl.zeros([RECEIVERS, 1, LANES], tl.float32)
    for m in tl.static_range(OUTPUTS):
        delta += go[m] * result[m]
    delta = sum_heads(delta, BLOCK_HEADS)
    norm = tl.load(
        lse + receiver * HEADS + head[None, None, :], mask=(i < n)[:, None, None] & real_heads, other=float("-inf")
    )

    dq = ()
    if d_query is not None:
        for _m in tl.static_range(MQ):
            dq = dq + (tl.zeros([RECEIVERS, SENDERS, LANES], tl.float32),)
    for start in range(0, stride.to(tl.int32), SENDERS):
        j = start + tl.arange(0, SENDERS)
        allowed = allowed_pairs(i, j, n, pair + i[:, None] * stride + j[None, :], mask, EXCLUDE_SELF)
        there = allowed[:, :, None]
        keep = there & real
        rows = (pair + i[:, None] * stride + j[None, :])[:, :, None]
        sender = (token + j)[None, :, None]
        inside = (j < n)[None, :, None] & real
        k = components(key, sender * (MQ * CHANNELS) + lane, inside, MQ, CHANNELS)
        v = components(value, sender * (VALUES * CHANNELS) + lane, inside, VALUES, CHANNELS)
        if a is None:
            phi, row, listed = tile_basis(
                token,
                i,
                j,
                pair,
                stride,
                allowed,
                positions,
                index,
                logarithms,
                RECEIVERS,
                SENDERS,
                COUNT,
                BLOCK,
                KIND,
                CUTOFF,
                WIDE,
            )
            rho = scaled(phi, row, listed, scaling, 0, DEGREES, COUNT, BLOCK)
        else:
            rho = 0
        ax = ()
        product = tl.zeros([RECEIVERS, SENDERS, LANES], tl.float32)
        for x in tl.static_range(IRREPS):
            ax = ax + (
                tile_weight(a, weight_a, rho, rows, keep, channel, exists, x, IRREPS, CHANNELS, COUNT, BLOCK, DOT),
            )
            product += ax[x] * irrep_product(q, k, QUERIES, x)
        places = rows * HEADS + head[None, None, :]
        logits = sum_heads(product, BLOCK_HEADS) * scale
        keep_heads = there & real_heads & (norm > float("-inf"))
        if bias is not None:
            logits += tl.load(bias + places, mask=keep_heads, other=0.0)
        p = tl.where(keep_heads, tl.exp(logits - norm), 0.0)

        ux, uy, uz, _r, _i = direction(positions, sender, receiver, there)
        y = harmonics(ux, uy, uz, DEGREES)
        total = tl.zeros([RECEIVERS, SENDERS, LANES], tl.float32)
        for J in tl.static_range(DEGREES):
            if a is None:
                rho = scaled(phi, row, listed, scaling, J, DEGREES, COUNT, BLOCK)
            gj = tile_weight(g, weight_g, rho, rows, keep, channel, exists, J, DEGREES, CHANNELS, COUNT, BLOCK, DOT)
            if LATE:
                w = path_weights(path_weight, lane, real, INTO, J, CHANNELS)
            of_degree = tl.zeros([RECEIVERS, SENDERS, LANES], tl.float32)
            for m in tl.static_range(OUTPUTS):
                of_degree += go[m] * coupled_by(v, y, w, INTO, m, J, total)
            total += gj * of_degree
        ds = p * (sum_heads(total, BLOCK_HEADS) - delta)
        if d_query is not None:
            wide = spread_heads(ds, PADDED)
            added = ()
            for m in tl.static_range(MQ):
                added = added + (dq[m] + wide * ax[QUERIES[m]] * k[m],)
            dq = added

        written = (i < stride)[:, None] & (j < stride)[None, :]
        tl.store(d_logits + places, ds, mask=written[:, :, None] & real_heads)
        tl.store(weights + places, p, mask=written[:, :, None] & real_heads)
        if group == 0:
            place = pair + i[:, None] * stride + j[None, :]
            to = tl.where(allowed, (token + i)[:, None] + tl.zeros_like(place), -1)
            tl.store(receivers + place, to.to(tl.int32), mask=written)
            of = (token + j)[None, :] + tl.zeros_like(place)
            tl.store(senders + place, of.to(tl.int32), mask=written)

    if d_query is not None:
        own = (token + i)[:, None] * (MQ * CHANNELS) + channel[None, :]
        for m in tl.static_range(MQ):
            tl.store(
                d_query + own + m * CHANNELS,
                (tl.sum(dq[m], axis=1) * scale).to(d_query.dtype.element_ty),
                mask=(i < stride)[:, None] & exists[None, :],
            )


@triton.jit(do_not_specialize=["pair_stride"])
def tokens_kernel(
    others,
    positions,
    a,
    weight_a,
    index,
    scaling,
    logarithms,
    mask,
    d_own,
    d_logits,
    tile_count,
    tile_molecule,
    tile_first,
    offsets,
    lengths,
    pair_offsets,
    pair_stride,
    scale,
    OF_QUERIES: tl.constexpr,
    QUERIES: tl.constexpr,
    IRREPS: tl.constexpr,
    DEGREES: tl.constexpr,
    EXCLUDE_SELF: tl.constexpr,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
    KIND: tl.constexpr,
    CUTOFF: tl.constexpr,
    WIDE: tl.constexpr,
    DOT: tl.constexpr,
    RECEIVERS: tl.constexpr,
    SENDERS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
):
    """d_query of RECEIVERS atoms, sum_j scale ds_ij a_ij k_j, or d_key of SENDERS atoms, sum_i scale ds_ij a_ij q_i.

    others: the keys or the queries
    """
    CHANNELS: tl.constexpr = HEADS * WIDTH
    GROUPS: tl.constexpr = (HEADS + BLOCK_HEADS - 1) // BLOCK_HEADS
    MQ: tl.constexpr = len(QUERIES)
    tile, group = tl.program_id(0) // GROUPS, tl.program_id(0) % GROUPS
    if tile >= tl.load(tile_count):
        return
    first, n, token, pair, stride = locate(tile, tile_molecule, tile_first, offsets, lengths, pair_offsets, pair_stride)
    channel, exists = channels_of(group, HEADS, WIDTH, BLOCK_HEADS, PADDED)
    head = group * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS)
    i = first + tl.arange(0, RECEIVERS)
    j = first + tl.arange(0, SENDERS)
    STEP: tl.constexpr = SENDERS if OF_QUERIES else RECEIVERS
    lane = channel[None, None, :]
    real = exists[None, None, :]
    total = ()
    for _m in tl.static_range(MQ):
        total = total + (tl.zeros([RECEIVERS, SENDERS, BLOCK_HEADS * PADDED], tl.float32),)
    for start in range(0, n, STEP):
        if OF_QUERIES:
            j = start + tl.arange(0, SENDERS)
            other = (token + j)[None, :, None]
            inside = (j < n)[None, :, None]
        else:
            i = start + tl.arange(0, RECEIVERS)
            other = (token + i)[:, None, None]
            inside = (i < n)[:, None, None]
        allowed = allowed_pairs(i, j, n, pair + i[:, None] * stride + j[None, :], mask, EXCLUDE_SELF)
        there = allowed[:, :, None]
        rows = (pair + i[:, None] * stride + j[None, :])[:, :, None]
        x = components(others, other * (MQ * CHANNELS) + lane, inside & real, MQ, CHANNELS)
        places = rows * HEADS + head[None, None, :]
        ds = tl.load(d_logits + places, mask=there & (head < HEADS)[None, None, :], other=0.0)
        wide = spread_heads(ds, PADDED)
        if a is None:
            phi, row, listed = tile_basis(
                token,
                i,
                j,
                pair,
                stride,
                allowed,
                positions,
                index,
                logarithms,
                RECEIVERS,
                SENDERS,
                COUNT,
                BLOCK,
                KIND,
                CUTOFF,
                WIDE,
            )
            rho = scaled(phi, row, listed, scaling, 0, DEGREES, COUNT, BLOCK)
        else:
            rho = 0
        ax = ()
        for irrep in tl.static_range(IRREPS):
            value = tile_weight(
                a, weight_a, rho, rows, there & real, channel, exists, irrep, IRREPS, CHANNELS, COUNT, BLOCK, DOT
            )
            ax = ax + (value * wide,)
        added = ()
        for m in tl.static_range(MQ):
            added = added + (total[m] + ax[QUERIES[m]] * x[m],)
        total = added
    if OF_QUERIES:
        atoms = first + tl.arange(0, RECEIVERS)
    else:
        atoms = first + tl.arange(0, SENDERS)
    own = (token + atoms)[:, None] * (MQ * CHANNELS) + channel[None, :]
    for m in tl.static_range(MQ):
        tl.store(
            d_own + own + m * CHANNELS,
            (tl.sum(total[m], axis=1 if OF_QUERIES else 0) * scale).to(d_own.dtype.element_ty),
            mask=(atoms < stride)[:, None] & exists[None, :],
        )


@triton.jit(do_not_specialize=["pair_stride"])
def values_kernel(
    grad_out,
    positions,
    path_weight,
    g,
    weight_g,
    index,
    scaling,
    logarithms,
    mask,
    d_value,
    weights,
    tile_count,
    tile_molecule,
    tile_first,
    offsets,
    lengths,
    pair_offsets,
    pair_stride,
    VALUES: tl.constexpr,
    OUTPUTS: tl.constexpr,
    DEGREES: tl.constexpr,
    OUT_OF: tl.constexpr,
    EXCLUDE_SELF: tl.constexpr,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
    KIND: tl.constexpr,
    CUTOFF: tl.constexpr,
    WIDE: tl.constexpr,
    DOT: tl.constexpr,
    RECEIVERS: tl.constexpr,
    SENDERS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
):
    """d_value of SENDERS atoms: the transposed couplings of grad_out, summed over receivers."""
    CHANNELS: tl.constexpr = HEADS * WIDTH
    GROUPS: tl.constexpr = (HEADS + BLOCK_HEADS - 1) // BLOCK_HEADS
    tile, group = tl.program_id(0) // GROUPS, tl.program_id(0) % GROUPS
    if tile >= tl.load(tile_count):
        return
    first, n, token, pair, stride = locate(tile, tile_molecule, tile_first, offsets, lengths, pair_offsets, pair_stride)
    channel, exists = channels_of(group, HEADS, WIDTH, BLOCK_HEADS, PADDED)
    head = group * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS)
    j = first + tl.arange(0, SENDERS)
    sender = (token + j)[None, :, None]
    lane = channel[None, None, :]
    real = exists[None, None, :]
    w = components(path_weight, lane, real, path_count(OUT_OF), CHANNELS)
    dv = ()
    for _n in tl.static_range(VALUES):
        dv = dv + (tl.zeros([RECEIVERS, SENDERS, BLOCK_HEADS * PADDED], tl.float32),)
    for start in range(0, n, RECEIVERS):
        i = start + tl.arange(0, RECEIVERS)
        allowed = allowed_pairs(i, j, n, pair + i[:, None] * stride + j[None, :], mask, EXCLUDE_SELF)
        there = allowed[:, :, None]
        rows = (pair + i[:, None] * stride + j[None, :])[:, :, None]
        receiver = (token + i)[:, None, None]
        mine = (i < n)[:, None, None] & real
        go = components(grad_out, receiver * (OUTPUTS * CHANNELS) + lane, mine, OUTPUTS, CHANNELS)
        places = rows * HEADS + head[None, None, :]
        p = tl.load(weights + places, mask=there & (head < HEADS)[None, None, :], other=0.0)
        wide = spread_heads(p, PADDED)
        if g is None:
            phi, row, listed = tile_basis(
                token,
                i,
                j,
                pair,
                stride,
                allowed,
                positions,
                index,
                logarithms,
                RECEIVERS,
                SENDERS,
                COUNT,
                BLOCK,
                KIND,
                CUTOFF,
                WIDE,
            )
        rho = 0
        u = ()
        for J in tl.static_range(DEGREES):
            if g is None:
                rho = scaled(phi, row, listed, scaling, J, DEGREES, COUNT, BLOCK)
            gj = tile_weight(
                g, weight_g, rho, rows, there & real, channel, exists, J, DEGREES, CHANNELS, COUNT, BLOCK, DOT
            )
            u = u + (wide * gj,)
        ux, uy, uz, _r, _i = direction(positions, sender, receiver, there)
        y = harmonics(ux, uy, uz, DEGREES)
        added = ()
        for m in tl.static_range(VALUES):
            added = added + (dv[m] + coupled(go, y, u, w, OUT_OF, m, wide),)
        dv = added
    own = (token + j)[:, None] * (VALUES * CHANNELS) + channel[None, :]
    for m in tl.static_range(VALUES):
        tl.store(
            d_value + own + m * CHANNELS,
            tl.sum(dv[m], axis=0).to(d_value.dtype.element_ty),
            mask=(j < stride)[:, None] & exists[None, :],
        )
