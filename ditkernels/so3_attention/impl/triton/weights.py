"""Device functions: radial weights of pairs, read or projected, and components of atoms as tuples of tensors."""

from __future__ import annotations

import triton
import triton.language as tl

from ditkernels.so3_attention.impl.triton.geometry import direction, radial_functions
from ditkernels.triton.blocks import settled


@triton.jit
def components(x, place, there, COUNT: tl.constexpr, CHANNELS: tl.constexpr):
    """A tuple of COUNT tensors float32: the components of atoms; place: of their first component."""
    values = ()
    for m in tl.static_range(COUNT):
        values = values + (tl.load(x + place + m * CHANNELS, mask=there, other=0.0).to(tl.float32),)
    return values


@triton.jit
def basis_of(
    rows,
    there,
    receiver,
    sender,
    positions,
    index,
    logarithms,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
    KIND: tl.constexpr,
    CUTOFF: tl.constexpr,
    WIDE: tl.constexpr,
):
    """For a list of pairs: the radial functions (pairs, BLOCK), their slopes, and the pairs' table rows (pairs,)."""
    _x, _y, _z, r, _i = direction(positions, sender, receiver, there)
    phi, slope = radial_functions(r, logarithms, COUNT, BLOCK, KIND, CUTOFF, WIDE)
    row = tl.zeros(rows.shape, tl.int64)
    if index is not None:
        row = tl.load(index + rows, mask=there, other=0).to(tl.int64)
    return phi, slope, row


@triton.jit
def project(
    rho,
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
    """rho (pairs, BLOCK) times weight[:, PART] of a tensor (K, PARTS, C): (pairs, channels)."""
    k = tl.arange(0, BLOCK)
    place = (k * PARTS + PART)[:, None] * CHANNELS + channel[None, :]
    w = tl.load(weight + place, mask=(k < COUNT)[:, None] & exists[None, :], other=0.0)
    return settled(tl.dot(settled(rho.to(DOT)), w.to(DOT), input_precision="ieee"))


@triton.jit
def tile_weight(
    dense,
    weight,
    rho,
    rows,
    keep,
    channel,
    exists,
    PART: tl.constexpr,
    PARTS: tl.constexpr,
    CHANNELS: tl.constexpr,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
    DOT: tl.constexpr,
):
    """One radial weight of a tile, (R, S, channels): a row of a tensor (P, PARTS, C), or a projection of rho.

    rows, keep: (R, S, 1) and (R, S, channels)
    """
    if dense is not None:
        value = tl.load(dense + (rows * PARTS + PART) * CHANNELS + channel[None, None, :], mask=keep, other=0.0)
        value = value.to(tl.float32)
    else:
        value = project(rho, weight, channel, exists, PART, PARTS, CHANNELS, COUNT, BLOCK, DOT)
        value = tl.reshape(value, keep.shape)
    return value


@triton.jit
def tile_basis(
    token,
    i,
    j,
    pair,
    stride,
    allowed,
    positions,
    index,
    logarithms,
    R: tl.constexpr,
    S: tl.constexpr,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
    KIND: tl.constexpr,
    CUTOFF: tl.constexpr,
    WIDE: tl.constexpr,
):
    """:func:`basis_of` for the pairs of a tile: i (R,), j (S,), allowed (R, S); also which of them are there."""
    there = tl.reshape(allowed, [R * S])
    rows = tl.reshape(pair + i[:, None] * stride + j[None, :], [R * S])
    receiver = tl.reshape(tl.broadcast_to((token + i)[:, None], [R, S]), [R * S])
    sender = tl.reshape(tl.broadcast_to((token + j)[None, :], [R, S]), [R * S])
    phi, _slope, row = basis_of(
        rows, there, receiver, sender, positions, index, logarithms, COUNT, BLOCK, KIND, CUTOFF, WIDE
    )
    return phi, row, there
