"""From our basis of the irreps to those of e3nn and e3x, and back.

    e3nn-component, e3nn-norm, e3nn-integral    e3nn's basis (its polar axis is y), in its three normalizations
    e3x-cartesian                               e3x's Cartesian order: our own basis
    e3x-m                                       e3x's other order, m = -l ... l: (y, z, x) for degree 1

A convention changes harmonics, and the components of every feature of degree l, by a matrix A_l: Y' = A_l Y. The
matrices of "e3nn-norm", "e3x-cartesian" and "e3x-m" are orthogonal: they convert what a network computes. Those of
"e3nn-component" and "e3nn-integral" are sqrt(2l+1) and sqrt((2l+1) / (4 pi)) times the ones of "e3nn-norm", as e3nn
scales its spherical harmonics. Checked against e3nn 0.6.0 and e3x 1.0.2.

e3x's features (..., P, M, C), with P parities of all degrees, even ones first, are features of
``Irreps.with_parity`` with the axes P and M flattened.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ditkernels.so3.irreps import Irreps
from ditkernels.so3.wigner import wigner_d

CONVENTIONS = ("e3nn-component", "e3nn-norm", "e3nn-integral", "e3x-cartesian", "e3x-m")


def change_of_basis(
    degree: int, convention: str, dtype: torch.dtype = torch.float64, device: torch.device | str | None = None
) -> Tensor:
    """A (2l+1, 2l+1) with Y_convention = A Y_ours, of degree 0, 1 or 2.

    Raises ValueError for an unknown convention or degree.
    """
    # e3nn's harmonics are those of the orders -l ... l in the axes (z, x, y).
    axes = torch.eye(3, dtype=dtype, device=device)[[2, 0, 1]]
    to_axes = wigner_d(axes, degree)
    scale = scale_of_harmonics(degree, convention)
    identity = torch.eye(2 * degree + 1, dtype=dtype, device=device)
    if convention == "e3x-cartesian":
        return identity
    by_order = identity[[2 * (degree - abs(m)) + (m < 0) for m in range(-degree, degree + 1)]]
    return by_order if convention == "e3x-m" else scale * by_order @ to_axes


def scale_of_harmonics(degree: int, convention: str) -> float:
    """Length of the harmonics of a unit vector, sqrt(sum_m Y_lm^2), in a convention; 1 in ours.

    Raises ValueError for an unknown convention.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"convention must be one of {', '.join(map(repr, CONVENTIONS))}, got {convention!r}")
    components = 2 * degree + 1
    return math.sqrt({"e3nn-component": components, "e3nn-integral": components / (4 * math.pi)}.get(convention, 1))


def to_convention(features: Tensor, irreps: Irreps | str, convention: str) -> Tensor:
    """Features (..., M, C) of our basis in another convention: same shape, same order of the irreps.

    Raises ValueError for an unknown convention or another number of components.
    """
    return _transform(features, Irreps(irreps), convention, lambda matrix: matrix)


def from_convention(features: Tensor, irreps: Irreps | str, convention: str) -> Tensor:
    """Features (..., M, C) of another convention in our basis: the inverse of :func:`to_convention`."""
    # The rows of a matrix are orthogonal and equally long.
    return _transform(features, Irreps(irreps), convention, lambda matrix: matrix.mT / matrix[0].square().sum())


def to_e3nn_layout(features: Tensor, irreps: Irreps | str) -> Tensor:
    """Features (..., M, C) as e3nn stores "Cx0e + Cx1o + ...": irrep, channel, component: (..., M * C)."""
    irreps = _checked(features, Irreps(irreps))
    return torch.cat([features[..., part, :].transpose(-1, -2).flatten(-2) for part in irreps.slices], -1)


def from_e3nn_layout(features: Tensor, irreps: Irreps | str) -> Tensor:
    """The inverse of :func:`to_e3nn_layout`: (..., M * C) -> (..., M, C).

    Raises ValueError if the last dimension is no multiple of M.
    """
    irreps = Irreps(irreps)
    if features.shape[-1] % irreps.dim:
        raise ValueError(f'features: expected (..., {irreps.dim} * C) for "{irreps}", got {tuple(features.shape)}')
    channels = features.shape[-1] // irreps.dim
    blocks = features.split([irrep.dim * channels for irrep in irreps], -1)
    return torch.cat(
        [block.unflatten(-1, (channels, irrep.dim)).transpose(-1, -2) for block, irrep in zip(blocks, irreps)], -2
    )


def e3nn_path_weight(
    filter_degree: int, value_degree: int, output_degree: int, convention: str, filter_first: bool = True
) -> float:
    """Factor that turns the weight of one of our paths into e3nn's.

    With A_l of "e3nn-norm", e3nn's coefficients are ours with all squares together summing to 1, with equal signs:

        wigner_3j(J, l1, lo) = (A_J x A_l1 x A_lo) CG[J, l1, lo] / sqrt(2 lo + 1)

    so a path with e3nn's harmonics and coefficients, and without e3nn's own normalization of irreps and paths, gives
    our result (features in "e3nn-norm") for sqrt(2 lo + 1) / (length of the harmonics of degree J) times our weight.

    convention: one of e3nn's, of the harmonics
    filter_first: e3nn's operands are (filter, value); False for (value, filter), which has the coefficients
        wigner_3j(l1, J, lo) and for odd J + l1 + lo the other sign

    Divide by it to convert a weight of e3nn's to ours. Raises ValueError for an unknown convention.
    """
    sign = 1 if filter_first else (-1) ** (filter_degree + value_degree + output_degree)
    return sign * math.sqrt(2 * output_degree + 1) / scale_of_harmonics(filter_degree, convention)


def _transform(features: Tensor, irreps: Irreps, convention: str, direction) -> Tensor:
    irreps = _checked(features, irreps)
    blocks = []
    for irrep, part in zip(irreps, irreps.slices):
        matrix = change_of_basis(irrep.degree, convention, features.dtype, features.device)
        blocks.append(direction(matrix) @ features[..., part, :])
    return torch.cat(blocks, -2)


def _checked(features: Tensor, irreps: Irreps) -> Irreps:
    if features.dim() < 2 or features.shape[-2] != irreps.dim:
        raise ValueError(f'features: expected (..., {irreps.dim}, C) for "{irreps}", got {tuple(features.shape)}')
    return irreps
