"""Real spherical harmonics of vectors, from the generated polynomials.

    Y_0 = 1,   Y_1 = (x, y, z),
    Y_2 = (sqrt(3)/2 (x^2 - y^2), sqrt(3) xy, sqrt(3) xz, sqrt(3) yz, z^2 - (x^2 + y^2)/2)      of the unit vector

Racah's normalization, sum_M Y_JM^2 = 1. A zero vector has no direction: its harmonics of degree > 0 and all gradients
are 0, and every division by its length is masked before it happens, so that no derivative of any order is NaN.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ditkernels.so3.irreps import check_degrees
from ditkernels.so3.tables import SPHERICAL_HARMONICS

Monomial = tuple[int, int, int, float]  # powers of x, y and z, coefficient


def spherical_harmonics(vectors: Tensor, degrees: int) -> Tensor:
    """Y_JM of the directions of vectors (..., 3), for J = 0 ... degrees - 1: (..., degrees^2).

    vectors: any floating dtype, any length; a zero vector gives (1, 0, 0, ...)
    degrees: 1, 2 or 3

    Differentiable to any order. Raises ValueError for another number of degrees or a last dimension other than 3.
    """
    unit, _ = _directions(vectors, degrees)
    return _harmonics(unit, degrees)


def spherical_harmonics_with_gradient(vectors: Tensor, degrees: int) -> tuple[Tensor, Tensor]:
    """Y (..., degrees^2) as in :func:`spherical_harmonics`, and dY/dvector (..., degrees^2, 3) in closed form.

    Y_J is a homogeneous polynomial p of degree J of the unit vector u = v / |v|, so that by Euler's theorem
    dY/dv = (grad p(u) - J p(u) u) / |v|. It is 0 for a zero vector.
    """
    unit, inverse_length = _directions(vectors, degrees)
    harmonics = _harmonics(unit, degrees)
    gradients = []
    for component, monomials in enumerate(SPHERICAL_HARMONICS[: degrees**2]):
        slope = torch.stack([_polynomial(_derivative(monomials, axis), unit) for axis in range(3)], -1)
        radial_part = sum(monomials[0][:3]) * harmonics[..., component, None] * unit
        gradients.append((slope - radial_part) * inverse_length)
    return harmonics, torch.stack(gradients, -2)


def _directions(vectors: Tensor, degrees: int) -> tuple[Tensor, Tensor]:
    """The unit vectors (..., 3) and 1 / length (..., 1), both 0 for a zero vector."""
    check_degrees(degrees, "degrees")
    if vectors.dim() == 0 or vectors.shape[-1] != 3 or not vectors.is_floating_point():
        raise ValueError(f"vectors: expected a floating tensor (..., 3), got {vectors.dtype} {tuple(vectors.shape)}")
    # Divided by the largest component first, so that no square overflows or loses digits. A direction does not depend
    # on this factor, so that no derivative passes through it.
    largest = vectors.detach().abs().amax(-1, keepdim=True)
    zero = largest == 0
    largest = torch.where(zero, 1.0, largest)
    scaled = torch.where(zero, 0.0, vectors) / largest
    inverse = torch.where(zero, 1.0, scaled.square().sum(-1, keepdim=True)).rsqrt()
    return scaled * inverse, torch.where(zero, 0.0, inverse / largest)


def _harmonics(unit: Tensor, degrees: int) -> Tensor:
    return torch.stack([_polynomial(monomials, unit) for monomials in SPHERICAL_HARMONICS[: degrees**2]], -1)


def _polynomial(monomials: tuple[Monomial, ...], unit: Tensor) -> Tensor:
    """The sum of the monomials at unit (..., 3): (...)."""
    coordinates = unit.unbind(-1)
    total = torch.zeros_like(coordinates[0])
    for *powers, coefficient in monomials:
        factors = [x for x, power in zip(coordinates, powers) for _ in range(power)]
        total = total + coefficient * math.prod(factors[1:], start=factors[0]) if factors else total + coefficient
    return total


def _derivative(monomials: tuple[Monomial, ...], axis: int) -> tuple[Monomial, ...]:
    """The derivative of a polynomial by one coordinate."""
    return tuple(
        (*(power - (at == axis) for at, power in enumerate(powers)), powers[axis] * coefficient)
        for *powers, coefficient in monomials
        if powers[axis] > 0
    )
