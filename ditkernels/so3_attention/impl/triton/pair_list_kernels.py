"""Kernels over the flat list of pairs: radial weights, their projections, path weights, scaling and positions.

A pair has a receiver, a sender, its weights p and the gradients ds of its logits. From them the gradients of its radial
weights are made in registers, one irrep of the queries or one filter degree at a time,

    da_x = scale ds sum_m q_xm k_xm              dg_J = p sum_paths(J) w_path t_path
    t_path = sum_{M,n,m} CG[path]_{M n m} Y_JM v_n grad_out_m

All programs have the same work, whatever the sizes of the molecules.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ditkernels.so3_attention.impl.triton.forward_kernel import irrep_product
from ditkernels.so3_attention.impl.triton.geometry import direction, harmonic_slope, harmonics, scaled
from ditkernels.so3_attention.impl.triton.terms import nonzero, nonzero_count, path_degree
from ditkernels.so3_attention.impl.triton.weights import basis_of, components, project
from ditkernels.triton.blocks import channels_of, listed, settled, spread_list
from ditkernels.triton.segments import chunk


@triton.jit
def query_gradient(
    rows,
    there,
    receiver,
    sender,
    group,
    query,
    key,
    d_logits,
    scale,
    X: tl.constexpr,
    QUERIES: tl.constexpr,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
):
    """da of irrep X for a list of pairs and a block of heads, (pairs, channels)."""
    CHANNELS: tl.constexpr = HEADS * WIDTH
    MQ: tl.constexpr = len(QUERIES)
    channel, exists = channels_of(group, HEADS, WIDTH, BLOCK_HEADS, PADDED)
    keep = there[:, None] & exists[None, :]
    q = components(query, receiver[:, None] * (MQ * CHANNELS) + channel[None, :], keep, MQ, CHANNELS)
    k = components(key, sender[:, None] * (MQ * CHANNELS) + channel[None, :], keep, MQ, CHANNELS)
    ds = spread_list(d_logits, rows, there, group, HEADS, BLOCK_HEADS, PADDED)
    return ds * scale * irrep_product(q, k, QUERIES, X)


@triton.jit
def path_product(v, go, y, PATHS: tl.constexpr, PATH: tl.constexpr):
    """t of one path, (pairs, channels)."""
    total = (nonzero(PATHS, PATH, 0, 3) * y[nonzero(PATHS, PATH, 0, 0)]) * (
        v[nonzero(PATHS, PATH, 0, 1)] * go[nonzero(PATHS, PATH, 0, 2)]
    )
    for t in tl.static_range(1, nonzero_count(PATHS, PATH)):
        total += (nonzero(PATHS, PATH, t, 3) * y[nonzero(PATHS, PATH, t, 0)]) * (
            v[nonzero(PATHS, PATH, t, 1)] * go[nonzero(PATHS, PATH, t, 2)]
        )
    return total


@triton.jit
def one_path(path_weight, channel, exists, PATH: tl.constexpr, CHANNELS: tl.constexpr):
    """The weights of one path, (1, channels)."""
    return tl.load(path_weight + PATH * CHANNELS + channel, mask=exists, other=0.0).to(tl.float32)[None, :]


@triton.jit
def pair_components(
    there,
    receiver,
    sender,
    group,
    value,
    grad_out,
    VALUES: tl.constexpr,
    OUTPUTS: tl.constexpr,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
):
    """The components of the senders' values and of the receivers' grad_out, tuples of (pairs, channels)."""
    CHANNELS: tl.constexpr = HEADS * WIDTH
    channel, exists = channels_of(group, HEADS, WIDTH, BLOCK_HEADS, PADDED)
    keep = there[:, None] & exists[None, :]
    v = components(value, sender[:, None] * (VALUES * CHANNELS) + channel[None, :], keep, VALUES, CHANNELS)
    go = components(grad_out, receiver[:, None] * (OUTPUTS * CHANNELS) + channel[None, :], keep, OUTPUTS, CHANNELS)
    return v, go


@triton.jit
def pair_harmonics(positions, sender, receiver, there, DEGREES: tl.constexpr):
    """Harmonics of a list of pairs, a tuple of (pairs, 1)."""
    x, y, z, _r, _i = direction(positions, sender[:, None], receiver[:, None], there[:, None])
    return harmonics(x, y, z, DEGREES)


@triton.jit(do_not_specialize=["num_pairs"])
def query_radial_kernel(
    query,
    key,
    d_logits,
    receivers,
    senders,
    positions,
    index,
    scaling,
    logarithms,
    d_a,
    partials,
    num_pairs,
    scale,
    X: tl.constexpr,
    QUERIES: tl.constexpr,
    IRREPS: tl.constexpr,
    DEGREES: tl.constexpr,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
    KIND: tl.constexpr,
    CUTOFF: tl.constexpr,
    WIDE: tl.constexpr,
    DOT: tl.constexpr,
    SPLITS: tl.constexpr,
    PAIRS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
):
    """da of irrep X: written to d_a (P, IRREPS, C), or as partial sums rho_0^T da of d_weight_a, (SPLITS, COUNT, C)."""
    CHANNELS: tl.constexpr = HEADS * WIDTH
    GROUPS: tl.constexpr = (HEADS + BLOCK_HEADS - 1) // BLOCK_HEADS
    group, split = tl.program_id(0) % GROUPS, tl.program_id(0) // GROUPS
    channel, exists = channels_of(group, HEADS, WIDTH, BLOCK_HEADS, PADDED)
    total = tl.zeros([BLOCK, BLOCK_HEADS * PADDED], tl.float32)
    for block in range(split, tl.cdiv(num_pairs, PAIRS), SPLITS):
        rows, there, receiver, sender = listed(block, num_pairs, receivers, senders, PAIRS)
        da = query_gradient(
            rows,
            there,
            receiver,
            sender,
            group,
            query,
            key,
            d_logits,
            scale,
            X,
            QUERIES,
            HEADS,
            WIDTH,
            PADDED,
            BLOCK_HEADS,
        )
        if d_a is not None:
            place = (rows * IRREPS + X)[:, None] * CHANNELS + channel[None, :]
            tl.store(d_a + place, da.to(d_a.dtype.element_ty), mask=(rows < num_pairs)[:, None] & exists[None, :])
        else:
            phi, _slope, row = basis_of(
                rows, there, receiver, sender, positions, index, logarithms, COUNT, BLOCK, KIND, CUTOFF, WIDE
            )
            rho = scaled(phi, row, there, scaling, 0, DEGREES, COUNT, BLOCK)
            total = tl.dot(tl.trans(settled(rho.to(DOT))), settled(da.to(DOT)), total, input_precision="ieee")
    if d_a is None:
        k = tl.arange(0, BLOCK)
        place = (split * COUNT + k)[:, None].to(tl.int64) * CHANNELS + channel[None, :]
        tl.store(partials + place, total, mask=(k < COUNT)[:, None] & exists[None, :])


@triton.jit(do_not_specialize=["num_pairs"])
def value_radial_kernel(
    value,
    grad_out,
    weights,
    receivers,
    senders,
    positions,
    path_weight,
    g,
    weight_g,
    index,
    scaling,
    logarithms,
    d_g,
    partials,
    partials_paths,
    num_pairs,
    J: tl.constexpr,
    VALUES: tl.constexpr,
    OUTPUTS: tl.constexpr,
    DEGREES: tl.constexpr,
    PATHS: tl.constexpr,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
    KIND: tl.constexpr,
    CUTOFF: tl.constexpr,
    WIDE: tl.constexpr,
    DOT: tl.constexpr,
    SPLITS: tl.constexpr,
    PAIRS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
):
    """dg of degree J: written to d_g (P, DEGREES, C), or as partial sums rho_J^T dg of d_weight_g (SPLITS, COUNT, C).

    partials_paths: partial sums p g_J t_path of the gradients of the path weights (SPLITS, paths, C). What is None is
    not wanted.
    """
    CHANNELS: tl.constexpr = HEADS * WIDTH
    GROUPS: tl.constexpr = (HEADS + BLOCK_HEADS - 1) // BLOCK_HEADS
    LANES: tl.constexpr = BLOCK_HEADS * PADDED
    NUM_PATHS: tl.constexpr = len(PATHS)
    group, split = tl.program_id(0) % GROUPS, tl.program_id(0) // GROUPS
    channel, exists = channels_of(group, HEADS, WIDTH, BLOCK_HEADS, PADDED)
    w = components(path_weight, channel[None, :], exists[None, :], NUM_PATHS, CHANNELS)
    total = tl.zeros([BLOCK, LANES], tl.float32)
    of_paths = ()
    for t in tl.static_range(NUM_PATHS):
        if path_degree(PATHS, t) == J:
            of_paths = of_paths + (tl.zeros([PAIRS, LANES], tl.float32),)
        else:
            of_paths = of_paths + (0,)
    for block in range(split, tl.cdiv(num_pairs, PAIRS), SPLITS):
        rows, there, receiver, sender = listed(block, num_pairs, receivers, senders, PAIRS)
        v, go = pair_components(
            there, receiver, sender, group, value, grad_out, VALUES, OUTPUTS, HEADS, WIDTH, PADDED, BLOCK_HEADS
        )
        y = pair_harmonics(positions, sender, receiver, there, DEGREES)
        p = spread_list(weights, rows, there, group, HEADS, BLOCK_HEADS, PADDED)
        if g is None:
            phi, _slope, row = basis_of(
                rows, there, receiver, sender, positions, index, logarithms, COUNT, BLOCK, KIND, CUTOFF, WIDE
            )
            rho = scaled(phi, row, there, scaling, J, DEGREES, COUNT, BLOCK)
        if partials_paths is not None:
            if g is None:
                gj = project(rho, weight_g, channel, exists, J, DEGREES, CHANNELS, COUNT, BLOCK, DOT)
            else:
                place = (rows * DEGREES + J)[:, None] * CHANNELS + channel[None, :]
                gj = tl.load(g + place, mask=there[:, None] & exists[None, :], other=0.0).to(tl.float32)
            gj = gj * p
        dg = tl.zeros([PAIRS, LANES], tl.float32)
        added = ()
        for t in tl.static_range(NUM_PATHS):
            if path_degree(PATHS, t) == J:
                product = path_product(v, go, y, PATHS, t)
                dg += product * w[t]
                if partials_paths is not None:
                    added = added + (of_paths[t] + gj * product,)
                else:
                    added = added + (of_paths[t],)
            else:
                added = added + (0,)
        of_paths = added
        dg = dg * p
        if d_g is not None:
            place = (rows * DEGREES + J)[:, None] * CHANNELS + channel[None, :]
            tl.store(d_g + place, dg.to(d_g.dtype.element_ty), mask=(rows < num_pairs)[:, None] & exists[None, :])
        if partials is not None:
            total = tl.dot(tl.trans(settled(rho.to(DOT))), settled(dg.to(DOT)), total, input_precision="ieee")
    if partials is not None:
        k = tl.arange(0, BLOCK)
        place = (split * COUNT + k)[:, None].to(tl.int64) * CHANNELS + channel[None, :]
        tl.store(partials + place, total, mask=(k < COUNT)[:, None] & exists[None, :])
    if partials_paths is not None:
        for t in tl.static_range(NUM_PATHS):
            if path_degree(PATHS, t) == J:
                place = (split * NUM_PATHS + t).to(tl.int64) * CHANNELS + channel
                tl.store(partials_paths + place, tl.sum(of_paths[t], axis=0), mask=exists)


@triton.jit(do_not_specialize=["num_pairs"])
def geometry_kernel(
    query,
    key,
    value,
    grad_out,
    weights,
    d_logits,
    receivers,
    senders,
    positions,
    path_weight,
    g,
    weight_a,
    weight_g,
    index,
    scaling,
    logarithms,
    d_delta,
    partials,
    order,
    starts,
    chunks,
    table_rows,
    num_pairs,
    scale,
    ROWS: tl.constexpr,
    J: tl.constexpr,
    QUERIES: tl.constexpr,
    IRREPS: tl.constexpr,
    VALUES: tl.constexpr,
    OUTPUTS: tl.constexpr,
    DEGREES: tl.constexpr,
    PATHS: tl.constexpr,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
    KIND: tl.constexpr,
    CUTOFF: tl.constexpr,
    WIDE: tl.constexpr,
    DOT: tl.constexpr,
    PAIRS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
):
    """What degree J says about the distances and directions of pairs, summed over all heads.

    d_delta: (P, 3) of this degree, the gradient of the displacement. partials: sums of d_rho_J phi over one chunk of
    pairs with the same table row, (chunks, COUNT); then a program takes a chunk (see ditkernels.triton.segments), else
    a block of PAIRS pairs. What is None is not wanted.
    """
    CHANNELS: tl.constexpr = HEADS * WIDTH
    GROUPS: tl.constexpr = (HEADS + BLOCK_HEADS - 1) // BLOCK_HEADS
    NUM_PATHS: tl.constexpr = len(PATHS)
    FIRST: tl.constexpr = J * J
    program = tl.program_id(0)
    if order is not None:
        table_row = tl.load(table_rows + program)
        if table_row >= ROWS:
            return
        _row, first, last = chunk(program, starts, chunks, table_rows)
    else:
        first = tl.full([], PAIRS, tl.int64) * program
        last = tl.minimum(first + PAIRS, num_pairs)
    k = tl.arange(0, BLOCK)
    of_scaling = tl.zeros([PAIRS, BLOCK], tl.float32)
    for start in range(first, last, PAIRS):
        place = start + tl.arange(0, PAIRS)
        if order is not None:
            rows = tl.load(order + place, mask=place < last, other=0)
        else:
            rows = place.to(tl.int64)
        receiver = tl.load(receivers + rows, mask=place < last, other=-1).to(tl.int64)
        there = receiver >= 0
        sender = tl.load(senders + rows, mask=there, other=0).to(tl.int64)
        ux, uy, uz, _r, inverse = direction(positions, sender, receiver, there)
        y = pair_harmonics(positions, sender, receiver, there, DEGREES)
        if g is None:
            phi, slope, row = basis_of(
                rows, there, receiver, sender, positions, index, logarithms, COUNT, BLOCK, KIND, CUTOFF, WIDE
            )
            rho = scaled(phi, row, there, scaling, J, DEGREES, COUNT, BLOCK)
        d_rho = tl.zeros([PAIRS, BLOCK], tl.float32)
        dy = ()
        for _m in tl.static_range(2 * J + 1):
            dy = dy + (tl.zeros([PAIRS], tl.float32),)
        if g is None:
            for group in range(0, GROUPS):
                channel, exists = channels_of(group, HEADS, WIDTH, BLOCK_HEADS, PADDED)
                v, go = pair_components(
                    there, receiver, sender, group, value, grad_out, VALUES, OUTPUTS, HEADS, WIDTH, PADDED, BLOCK_HEADS
                )
                p = spread_list(weights, rows, there, group, HEADS, BLOCK_HEADS, PADDED)
                dg = tl.zeros([PAIRS, BLOCK_HEADS * PADDED], tl.float32)
                for t in tl.static_range(NUM_PATHS):
                    if path_degree(PATHS, t) == J:
                        dg += path_product(v, go, y, PATHS, t) * one_path(path_weight, channel, exists, t, CHANNELS)
                d_rho = onto_basis(d_rho, dg * p, weight_g, channel, exists, J, DEGREES, CHANNELS, COUNT, BLOCK, DOT)
                if J == 0:
                    for x in tl.static_range(IRREPS):
                        da = query_gradient(
                            rows,
                            there,
                            receiver,
                            sender,
                            group,
                            query,
                            key,
                            d_logits,
                            scale,
                            x,
                            QUERIES,
                            HEADS,
                            WIDTH,
                            PADDED,
                            BLOCK_HEADS,
                        )
                        d_rho = onto_basis(d_rho, da, weight_a, channel, exists, x, IRREPS, CHANNELS, COUNT, BLOCK, DOT)
        # A loop of its own, though it reads the same: with the one above, it needs more registers than there are.
        if d_delta is not None and J > 0:
            for group in range(0, GROUPS):
                channel, exists = channels_of(group, HEADS, WIDTH, BLOCK_HEADS, PADDED)
                v, go = pair_components(
                    there, receiver, sender, group, value, grad_out, VALUES, OUTPUTS, HEADS, WIDTH, PADDED, BLOCK_HEADS
                )
                p = spread_list(weights, rows, there, group, HEADS, BLOCK_HEADS, PADDED)
                if g is None:
                    gj = project(rho, weight_g, channel, exists, J, DEGREES, CHANNELS, COUNT, BLOCK, DOT)
                else:
                    target = (rows * DEGREES + J)[:, None] * CHANNELS + channel[None, :]
                    gj = tl.load(g + target, mask=there[:, None] & exists[None, :], other=0.0).to(tl.float32)
                gj = gj * p
                added = ()
                for m in tl.static_range(2 * J + 1):
                    w = components(path_weight, channel[None, :], exists[None, :], NUM_PATHS, CHANNELS)
                    coupling = harmonic_coupling(v, go, w, FIRST + m, PATHS, gj)
                    added = added + (dy[m] + tl.sum(gj * coupling, axis=1),)
                dy = added
        if partials is not None:
            of_scaling += d_rho * phi
        if d_delta is not None:
            dx = tl.zeros([PAIRS], tl.float32)
            dz = tl.zeros([PAIRS], tl.float32)
            dw = tl.zeros([PAIRS], tl.float32)
            if g is None:
                dr = tl.sum(d_rho * scaled(slope, row, there, scaling, J, DEGREES, COUNT, BLOCK), axis=1)
                dr = tl.where(inverse > 0, dr, 0.0)
                dx += dr * ux
                dz += dr * uy
                dw += dr * uz
            if J > 0:
                for m in tl.static_range(2 * J + 1):
                    sx, sy, sz = harmonic_slope(ux, uy, uz, FIRST + m)
                    dx += dy[m] * sx * inverse
                    dz += dy[m] * sy * inverse
                    dw += dy[m] * sz * inverse
            inside = place < last
            tl.store(d_delta + rows * 3, dx, mask=inside)
            tl.store(d_delta + rows * 3 + 1, dz, mask=inside)
            tl.store(d_delta + rows * 3 + 2, dw, mask=inside)
    if partials is not None:
        tl.store(partials + program.to(tl.int64) * COUNT + k, tl.sum(of_scaling, axis=0), mask=k < COUNT)


@triton.jit
def onto_basis(
    d_rho,
    d_weight,
    weight,
    channel,
    exists,
    PART: tl.constexpr,
    PARTS: tl.constexpr,
    CHANNELS: tl.constexpr,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
    DOT: tl.constexpr,
):
    """d_rho + d_weight (pairs, channels) times the transpose of weight[:, PART], which is read transposed."""
    k = tl.arange(0, BLOCK)
    place = (k * PARTS + PART)[None, :] * CHANNELS + channel[:, None]
    w = tl.load(weight + place, mask=(k < COUNT)[None, :] & exists[:, None], other=0.0)
    return tl.dot(settled(d_weight.to(DOT)), w.to(DOT), d_rho, input_precision="ieee")


@triton.jit
def harmonic_coupling(v, go, w, COMPONENT: tl.constexpr, PATHS: tl.constexpr, like):
    """sum over paths of w_path sum c v_n grad_out_m of the terms with one harmonic, (pairs, channels)."""
    total = tl.zeros(like.shape, tl.float32)
    for t in tl.static_range(len(PATHS)):
        for e in tl.static_range(nonzero_count(PATHS, t)):
            if nonzero(PATHS, t, e, 0) == COMPONENT:
                total += (nonzero(PATHS, t, e, 3) * w[t]) * (v[nonzero(PATHS, t, e, 1)] * go[nonzero(PATHS, t, e, 2)])
    return total
