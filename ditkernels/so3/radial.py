"""Radial bases: functions of a distance r (Angstrom) that are finite and differentiable everywhere, r = 0 included.

Every basis is evaluated in float64 and rounded once to the dtype of r.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

RADIAL_BASES = ("bernstein", "gaussian", "bessel")


def radial_basis(kind: str, r: Tensor, count: int, cutoff: float | None = None) -> Tensor:
    """K radial functions of distances r (...) in Angstrom: (..., K) in the dtype of r, differentiable to any order.

        "bernstein"  C(K-1, n) tau^n (1 - tau)^(K-1-n), n = 0 ... K-1, tau = r / (1 + r): sums to 1, has no cutoff
                     (the reciprocal Bernstein basis of e3x)
        "gaussian"   exp(-(r - mu)^2 / (2 w^2)), K centres mu from 0 to the cutoff, w their distance;
                     for K = 1 the centre 0 and w = cutoff
        "bessel"     sqrt(2 / cutoff) sin(n pi r / cutoff) / r, n = 1 ... K, with its limit at r = 0
                     (DimeNet, arXiv 2003.03123, without its envelope)

    r: floating, >= 0
    count: K >= 1
    cutoff: Angstrom, > 0, for "gaussian" and "bessel"; they do not vanish beyond it (see :func:`polynomial_cutoff`).
        None or 0 for "bernstein"

    Raises ValueError that names the argument if one of these does not hold.
    """
    check_radial_basis(kind, count, cutoff)
    if not r.is_floating_point():
        raise ValueError(f"r: expected a floating tensor, got {r.dtype}")
    wide = r.double()
    if kind == "bernstein":
        basis = _bernstein(wide, count)
    elif kind == "gaussian":
        basis = _gaussian(wide, count, cutoff)
    else:
        basis = _bessel(wide, count, cutoff)
    return basis.to(r.dtype)


def check_radial_basis(kind: str, count: int, cutoff: float | None) -> None:
    """Raises ValueError unless :func:`radial_basis` takes these arguments."""
    if kind not in RADIAL_BASES:
        raise ValueError(f"kind must be one of {', '.join(map(repr, RADIAL_BASES))}, got {kind!r}")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if kind == "bernstein":
        if cutoff:
            raise ValueError(f"cutoff: the 'bernstein' basis has no cutoff, expected None, got {cutoff}")
    elif cutoff is None or not 0 < cutoff < math.inf:
        raise ValueError(f"cutoff must be a positive distance in Angstrom for the {kind!r} basis, got {cutoff}")


def polynomial_cutoff(r: Tensor, cutoff: float) -> Tensor:
    """1 - 10 x^3 + 15 x^4 - 6 x^5 with x = r / cutoff, 0 beyond the cutoff: (...) -> (...).

    Twice continuously differentiable (Unke and Meuwly, J. Chem. Theory Comput. 15, 3678 (2019)). Evaluated as
    (1 - x)^3 (1 + 3x + 6x^2), which keeps its digits and its sign near the cutoff.

    Raises ValueError unless cutoff is a positive distance.
    """
    if not 0 < cutoff < math.inf:
        raise ValueError(f"cutoff must be a positive distance in Angstrom, got {cutoff}")
    x = (r / cutoff).clamp(max=1.0)
    return (1 - x) ** 3 * (1 + 3 * x + 6 * x * x)


def _bernstein(r: Tensor, count: int) -> Tensor:
    n = torch.arange(1, count, dtype=r.dtype, device=r.device)
    binomials = F.pad(((count - n) / n).cumprod(0), (1, 0), value=1.0)
    return _powers(r / (1 + r), count) * binomials * _powers(1 / (1 + r), count).flip(-1)


def _powers(x: Tensor, count: int) -> Tensor:
    """x^0 ... x^(count-1): (..., count). By products alone, so that every derivative is right at x = 0."""
    powers, factor = torch.ones_like(x).unsqueeze(-1), x.unsqueeze(-1)
    while powers.shape[-1] < count:  # factor = x^(number of powers)
        powers = torch.cat([powers, powers * factor], -1)
        factor = factor * factor
    return powers[..., :count]


def _gaussian(r: Tensor, count: int, cutoff: float) -> Tensor:
    width = cutoff / (count - 1) if count > 1 else cutoff
    centres = torch.arange(count, dtype=r.dtype, device=r.device) * width
    return (-0.5 * ((r.unsqueeze(-1) - centres) / width).square()).exp()


def _bessel(r: Tensor, count: int, cutoff: float) -> Tensor:
    frequencies = torch.arange(1, count + 1, dtype=r.dtype, device=r.device) * (math.pi / cutoff)
    return math.sqrt(2 / cutoff) * frequencies * _sinc(r.unsqueeze(-1) * frequencies)


def _sinc(x: Tensor) -> Tensor:
    """sin(x) / x, near 0 by its power series: the quotient loses digits there, in its derivatives above all."""
    near = x.abs() < 0.5
    square = torch.where(near, x, 0.0).square()
    series = torch.ones_like(x)
    for k in range(8, 0, -1):  # 1 - x^2/3! + x^4/5! - ...: the first term left out is 3e-23
        series = 1 - series * square / (2 * k * (2 * k + 1))
    far = torch.where(near, 1.0, x)
    return torch.where(near, series, far.sin() / far)
