"""The forward kernel: one tile of receivers and one block of heads per program, senders block by block."""

from __future__ import annotations

import triton
import triton.language as tl

from ditkernels.so3_attention.impl.triton.geometry import direction, harmonics, scaled
from ditkernels.so3_attention.impl.triton.terms import (
    degree_of,
    group_size,
    has_degree,
    path_count,
    path_of,
    term,
    term_count,
)
from ditkernels.so3_attention.impl.triton.weights import components, tile_basis, tile_weight
from ditkernels.triton.blocks import allowed_pairs, channels_of, locate, spread_heads, sum_heads


@triton.jit(do_not_specialize=["pair_stride"])
def forward_kernel(
    query,
    key,
    value,
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
    WIDE: tl.constexpr,
    DOT: tl.constexpr,
    RECEIVERS: tl.constexpr,
    SENDERS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
):
    """out and lse of RECEIVERS atoms. Every lane (i, j-lane, head) has a softmax of its own, joined after the loop."""
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
    i = first + tl.arange(0, RECEIVERS)
    receiver = (token + i)[:, None, None]
    lane = channel[None, None, :]
    real = exists[None, None, :]
    q = components(query, receiver * (MQ * CHANNELS) + lane, (i < n)[:, None, None] & real, MQ, CHANNELS)
    w = components(path_weight, lane, real, path_count(INTO), CHANNELS)

    top = tl.full([RECEIVERS, SENDERS, BLOCK_HEADS], float("-inf"), tl.float32)
    total = tl.zeros([RECEIVERS, SENDERS, BLOCK_HEADS], tl.float32)
    sums = ()
    for _m in tl.static_range(OUTPUTS):
        sums = sums + (tl.zeros([RECEIVERS, SENDERS, LANES], tl.float32),)
    for start in range(0, n, SENDERS):
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
        product = tl.zeros([RECEIVERS, SENDERS, LANES], tl.float32)
        for x in tl.static_range(IRREPS):
            ax = tile_weight(a, weight_a, rho, rows, keep, channel, exists, x, IRREPS, CHANNELS, COUNT, BLOCK, DOT)
            product += ax * irrep_product(q, k, QUERIES, x)
        places = rows * HEADS + head[None, None, :]
        keep_heads = there & (head < HEADS)[None, None, :]
        logits = sum_heads(product, BLOCK_HEADS) * scale
        if bias is not None:
            logits += tl.load(bias + places, mask=keep_heads, other=0.0)
        logits = tl.where(keep_heads, logits, float("-inf"))
        higher = tl.maximum(top, logits)
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        fade = tl.exp(top - shift)
        p = tl.exp(logits - shift)
        total = total * fade + p
        top = higher
        wide_fade, wide_p = spread_heads(fade, PADDED), spread_heads(p, PADDED)

        ux, uy, uz, _r, _i = direction(positions, sender, receiver, there)
        y = harmonics(ux, uy, uz, DEGREES)
        u = ()
        for J in tl.static_range(DEGREES):
            if a is None:
                rho = scaled(phi, row, listed, scaling, J, DEGREES, COUNT, BLOCK)
            gj = tile_weight(g, weight_g, rho, rows, keep, channel, exists, J, DEGREES, CHANNELS, COUNT, BLOCK, DOT)
            u = u + (wide_p * gj,)
        faded = ()
        for m in tl.static_range(OUTPUTS):
            faded = faded + (sums[m] * wide_fade + coupled(v, y, u, w, INTO, m, wide_p),)
        sums = faded

    highest = tl.max(top, axis=1)
    shift = tl.where(highest == float("-inf"), 0.0, highest)
    fade = tl.exp(top - shift[:, None, :])
    whole = tl.sum(total * fade, axis=1)
    some = whole > 0
    below = tl.where(some, whole, 1.0)
    factor = spread_heads(fade / below[:, None, :], PADDED)
    written = (i < stride)[:, None]
    own = (token + i)[:, None] * (OUTPUTS * CHANNELS) + channel[None, :]
    for m in tl.static_range(OUTPUTS):
        result = tl.sum(sums[m] * factor, axis=1)
        tl.store(out + own + m * CHANNELS, result.to(out.dtype.element_ty), mask=written & exists[None, :])
    tl.store(
        lse + (token + i)[:, None] * HEADS + head[None, :],
        tl.where(some, shift + tl.log(below), float("-inf")),
        mask=written & (head < HEADS)[None, :],
    )


@triton.jit
def irrep_product(x, y, OF: tl.constexpr, IRREP: tl.constexpr):
    """Sum of x_m y_m over the components m with OF[m] = IRREP; there is one at least."""
    total = x[first_of(OF, IRREP)] * y[first_of(OF, IRREP)]
    for m in tl.static_range(first_of(OF, IRREP) + 1, len(OF)):
        if OF[m] == IRREP:
            total += x[m] * y[m]
    return total


@triton.constexpr_function
def first_of(of, irrep):
    """The first component of an irrep."""
    return list(of).index(irrep)


@triton.jit
def path_weights(path_weight, place, real, GROUPS: tl.constexpr, DEGREE: tl.constexpr, CHANNELS: tl.constexpr):
    """The weights of the paths of one degree, float32, in a tuple with a place for every path."""
    values = ()
    for t in tl.static_range(path_count(GROUPS)):
        if has_degree(GROUPS, t, DEGREE):
            values = values + (tl.load(path_weight + t * CHANNELS + place, mask=real, other=0.0).to(tl.float32),)
        else:
            values = values + (0,)
    return values


@triton.jit
def turned(values, y, GROUPS: tl.constexpr, COMPONENT: tl.constexpr, NUMBER: tl.constexpr):
    """Sum of coefficient Y_M values[other] over the terms (M, other, coefficient) of one path and one component."""
    total = (term(GROUPS, COMPONENT, NUMBER, 0, 2) * y[term(GROUPS, COMPONENT, NUMBER, 0, 0)]) * values[
        term(GROUPS, COMPONENT, NUMBER, 0, 1)
    ]
    for t in tl.static_range(1, term_count(GROUPS, COMPONENT, NUMBER)):
        total += (term(GROUPS, COMPONENT, NUMBER, t, 2) * y[term(GROUPS, COMPONENT, NUMBER, t, 0)]) * values[
            term(GROUPS, COMPONENT, NUMBER, t, 1)
        ]
    return total


@triton.jit
def coupled(values, y, u, w, GROUPS: tl.constexpr, COMPONENT: tl.constexpr, like):
    """Sum over the paths of one component: w_path u_degree sum_terms c Y_M values_other."""
    total = tl.zeros(like.shape, tl.float32)
    for t in tl.static_range(group_size(GROUPS, COMPONENT)):
        own = turned(values, y, GROUPS, COMPONENT, t)
        total += own * w[path_of(GROUPS, COMPONENT, t)] * u[degree_of(GROUPS, COMPONENT, t)]
    return total


@triton.jit
def coupled_by(values, y, w, GROUPS: tl.constexpr, COMPONENT: tl.constexpr, DEGREE: tl.constexpr, like):
    """The paths of one degree in :func:`coupled`, without u."""
    total = tl.zeros(like.shape, tl.float32)
    for t in tl.static_range(group_size(GROUPS, COMPONENT)):
        if degree_of(GROUPS, COMPONENT, t) == DEGREE:
            total += turned(values, y, GROUPS, COMPONENT, t) * w[path_of(GROUPS, COMPONENT, t)]
    return total
