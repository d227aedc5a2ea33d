"""Device functions: directions of pairs, their harmonics and radial functions."""

from __future__ import annotations

import math

import triton
import triton.language as tl

from ditkernels.so3.tables import SPHERICAL_HARMONICS

PI = tl.constexpr(math.pi)


@triton.constexpr_function
def monomials(component):
    """How many monomials a harmonic has."""
    return len(SPHERICAL_HARMONICS[component])


@triton.constexpr_function
def power(component, term, axis):
    """The power of x, y or z in a monomial of a harmonic; its coefficient for axis 3."""
    return SPHERICAL_HARMONICS[component][term][axis]


@triton.jit
def monomial(x, y, z, px: tl.constexpr, py: tl.constexpr, pz: tl.constexpr, coefficient: tl.constexpr):
    """coefficient x^px y^py z^pz; powers are at most 2, and 0 for a negative one: a derivative of what is not there."""
    value = tl.full(x.shape, coefficient, tl.float32)
    if px < 0 or py < 0 or pz < 0:
        value = tl.zeros(x.shape, tl.float32)
    else:
        for _x in tl.static_range(px):
            value = value * x
        for _y in tl.static_range(py):
            value = value * y
        for _z in tl.static_range(pz):
            value = value * z
    return value


@triton.jit
def direction(positions, sender, receiver, there):
    """The unit vector from receivers to senders and the distance; 0 for coincident atoms.

    sender, receiver: token numbers that broadcast to the shape of the pairs, there: which are read
    """
    x = load_axis(positions, sender, receiver, there, 0)
    y = load_axis(positions, sender, receiver, there, 1)
    z = load_axis(positions, sender, receiver, there, 2)
    square = x * x + y * y + z * z
    apart = square > 0
    r = tl.sqrt(square)
    inverse = tl.where(apart, 1 / tl.where(apart, r, 1.0), 0.0)
    return x * inverse, y * inverse, z * inverse, r, inverse


@triton.jit
def load_axis(positions, sender, receiver, there, AXIS: tl.constexpr):
    to = tl.load(positions + sender * 3 + AXIS, mask=there, other=0.0)
    return to - tl.load(positions + receiver * 3 + AXIS, mask=there, other=0.0)


@triton.jit
def harmonics(x, y, z, DEGREES: tl.constexpr):
    """The real harmonics of unit vectors: a tuple of DEGREES^2 tensors; 0 beyond degree 0 for a zero vector."""
    values = ()
    for c in tl.static_range(DEGREES * DEGREES):
        value = tl.zeros(x.shape, tl.float32)
        for t in tl.static_range(monomials(c)):
            value += monomial(x, y, z, power(c, t, 0), power(c, t, 1), power(c, t, 2), power(c, t, 3))
        values = values + (value,)
    return values


@triton.jit
def harmonic_slope(x, y, z, C: tl.constexpr):
    """Gradient of harmonic C with respect to the vector, times its length: grad p(u) - J p(u) u (Euler's theorem)."""
    dx = tl.zeros(x.shape, tl.float32)
    dy = tl.zeros(x.shape, tl.float32)
    dz = tl.zeros(x.shape, tl.float32)
    radial = tl.zeros(x.shape, tl.float32)
    for t in tl.static_range(monomials(C)):
        dx += monomial(x, y, z, power(C, t, 0) - 1, power(C, t, 1), power(C, t, 2), power(C, t, 3) * power(C, t, 0))
        dy += monomial(x, y, z, power(C, t, 0), power(C, t, 1) - 1, power(C, t, 2), power(C, t, 3) * power(C, t, 1))
        dz += monomial(x, y, z, power(C, t, 0), power(C, t, 1), power(C, t, 2) - 1, power(C, t, 3) * power(C, t, 2))
        order = power(C, t, 0) + power(C, t, 1) + power(C, t, 2)
        radial += order * monomial(x, y, z, power(C, t, 0), power(C, t, 1), power(C, t, 2), power(C, t, 3))
    return dx - radial * x, dy - radial * y, dz - radial * z


@triton.jit
def radial_functions(
    r,
    logarithms,
    COUNT: tl.constexpr,
    BLOCK: tl.constexpr,
    KIND: tl.constexpr,
    CUTOFF: tl.constexpr,
    WIDE: tl.constexpr,
):
    """phi_k(r) of :func:`ditkernels.so3.radial_basis` and d phi_k / dr, for r (pairs,): (pairs, BLOCK) float32 each.

    logarithms: (COUNT,) float64, base 2, of the binomial coefficients; WIDE: the dtype of the arithmetic
    Columns beyond COUNT are 0. The derivative is that at r > 0.
    """
    k = tl.arange(0, BLOCK)[None, :].to(WIDE)
    wide = r.to(WIDE)[:, None]
    if KIND == "bernstein":
        # log2 phi in WIDE, for it is the small difference of large numbers. Its power of two needs no more than float32
        # once the whole part is apart, and is short there: in float64 it takes a library's code and its registers.
        near = tl.log2(1 + wide)
        logarithm = tl.load(logarithms + tl.arange(0, BLOCK), mask=tl.arange(0, BLOCK) < COUNT, other=0.0)
        exponent = logarithm.to(WIDE)[None, :] + k * tl.log2(tl.maximum(wide, 1e-30)) - (COUNT - 1) * near
        if WIDE == tl.float64:
            whole = tl.floor(exponent)
            phi = tl.exp2((exponent - whole).to(tl.float32)) * tl.exp2(whole.to(tl.float32))
        else:
            phi = tl.exp2(exponent)
        order = tl.arange(0, BLOCK)[None, :].to(tl.float32)
        slope = phi * (order / tl.maximum(r, 1e-30)[:, None] - (COUNT - 1 - order)) / (1 + r)[:, None]
    elif KIND == "gaussian":
        STEP: tl.constexpr = CUTOFF / (COUNT - 1) if COUNT > 1 else CUTOFF
        away = ((wide - k * STEP) * (1 / STEP)).to(tl.float32)
        phi = tl.exp(-0.5 * away * away)
        slope = (-1 / STEP) * away * phi
    else:
        frequency = (k + 1) * (PI / CUTOFF)
        x = wide * frequency
        square = x * x
        near = square < 0.25
        # sin(x) / x and its derivative, near 0 by their series, which leave out terms of x^12 and more.
        sinc_near = 1 + square / -6 * (
            1 + square / -20 * (1 + square / -42 * (1 + square / -72 * (1 + square / -110 * (1 + square / -156))))
        )
        slope_near = (
            x
            / -3
            * (1 + square / -10 * (1 + square / -28 * (1 + square / -54 * (1 + square / -88 * (1 + square / -130)))))
        )
        far = tl.where(near, 1.0, x)
        sinc = tl.where(near, sinc_near, tl.sin(far) / far)
        sinc_slope = tl.where(near, slope_near, (tl.cos(far) - tl.sin(far) / far) / far)
        height = tl.sqrt(tl.full([1, 1], 2.0 / CUTOFF, WIDE)) * frequency
        phi = height * sinc
        slope = height * frequency * sinc_slope
    there = tl.arange(0, BLOCK)[None, :] < COUNT
    return tl.where(there, phi, 0.0).to(tl.float32), tl.where(there, slope, 0.0).to(tl.float32)


@triton.jit
def scaled(
    phi, row, there, scaling, DEGREE: tl.constexpr, DEGREES: tl.constexpr, COUNT: tl.constexpr, BLOCK: tl.constexpr
):
    """phi times the factors of one degree of the table row of each pair, (pairs, BLOCK)."""
    k = tl.arange(0, BLOCK)
    if scaling is None:
        value = phi
    else:
        place = (row * DEGREES + DEGREE)[:, None] * COUNT + k[None, :]
        value = phi * tl.load(scaling + place, mask=there[:, None] & (k < COUNT)[None, :], other=0.0).to(tl.float32)
    return value
