"""Spherical harmonics: the formulas, orthonormality, addition theorem, behaviour under rotation and reflection."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ditkernels.so3 import spherical_harmonics, wigner_d
from tests.support.rotations import random_orthogonal

DEGREES = [slice(0, 1), slice(1, 4), slice(4, 9)]


def vectors(*shape):
    return torch.randn(*shape, 3, dtype=torch.float64)


def test_formulas():
    v = vectors(7)
    x, y, z = (v / v.norm(dim=-1, keepdim=True)).unbind(-1)
    root = math.sqrt(3)
    expected = [torch.ones_like(x), x, y, z]
    expected += [root / 2 * (x**2 - y**2), root * x * y, root * x * z, root * y * z, z**2 - (x**2 + y**2) / 2]
    for degrees in (1, 2, 3):
        found = spherical_harmonics(v, degrees)
        torch.testing.assert_close(found, torch.stack(expected[: degrees**2], -1), rtol=0, atol=1e-15)


def test_orthonormal_on_the_sphere():
    """Mean of Y_a Y_b over the sphere = delta_ab / (2l + 1); this grid is exact for polynomials of degree 5."""
    z, weight = np.polynomial.legendre.leggauss(3)
    phi = np.arange(6) * (2 * math.pi / 6)
    ring = np.sqrt(1 - z**2)
    grid = np.stack([np.outer(ring, np.cos(phi)), np.outer(ring, np.sin(phi)), np.outer(z, np.ones(6))], -1)
    y = spherical_harmonics(torch.from_numpy(grid), 3)
    mean = torch.einsum("zpa,zpb,z->ab", y, y, torch.from_numpy(weight) / 12)
    expected = torch.diag(torch.tensor([1.0] + 3 * [1 / 3] + 5 * [1 / 5], dtype=torch.float64))
    torch.testing.assert_close(mean, expected, rtol=0, atol=1e-15)


def test_addition_theorem():
    """sum_M Y_JM(u) Y_JM(v) = P_J(cos of the angle between u and v); for u = v, the norm is 1."""
    u, v = vectors(11), vectors(11)
    cosine = torch.cosine_similarity(u, v, -1)
    product = spherical_harmonics(u, 3) * spherical_harmonics(v, 3)
    legendre = [torch.ones_like(cosine), cosine, 1.5 * cosine**2 - 0.5]
    for part, expected in zip(DEGREES, legendre):
        torch.testing.assert_close(product[:, part].sum(-1), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("determinant", [1, -1])
def test_rotations_and_reflections(determinant):
    v, matrix = vectors(5), random_orthogonal(3, determinant)
    turned = spherical_harmonics(v @ matrix.T, 3)
    for degree, part in enumerate(DEGREES):
        expected = spherical_harmonics(v, 3)[:, part] @ wigner_d(matrix, degree).T
        torch.testing.assert_close(turned[:, part], expected, rtol=0, atol=1e-14)


def test_inversion_has_natural_parity():
    v = vectors(5)
    sign = torch.tensor([1.0] + 3 * [-1.0] + 5 * [1.0], dtype=torch.float64)
    torch.testing.assert_close(spherical_harmonics(-v, 3), sign * spherical_harmonics(v, 3), rtol=0, atol=0)


@pytest.mark.parametrize(("dtype", "lengths"), [(torch.float64, (1e-300, 1e300)), (torch.float32, (1e-37, 1e38))])
def test_only_the_direction_matters(dtype, lengths):
    v = (vectors(5) / 4).to(dtype)
    for length in lengths:
        torch.testing.assert_close(spherical_harmonics(v * length, 3), spherical_harmonics(v, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_and_precision(dtype):
    v = vectors(200).to(dtype)
    found = spherical_harmonics(v, 3)
    assert found.dtype == dtype
    error = (found.double() - spherical_harmonics(v.double(), 3)).abs().max()
    assert error <= 6 * torch.finfo(dtype).eps


def test_shapes():
    assert spherical_harmonics(vectors(2, 0, 4), 3).shape == (2, 0, 4, 9)
    assert spherical_harmonics(vectors(), 2).shape == (4,)


def test_a_zero_vector_has_no_direction():
    expected = torch.tensor([1.0] + 8 * [0.0])
    assert torch.equal(spherical_harmonics(torch.zeros(2, 3), 3), expected.expand(2, 9))


@pytest.mark.parametrize("degrees", [0, 4, -1])
def test_a_wrong_number_of_degrees_is_named(degrees):
    with pytest.raises(ValueError, match=f"degrees must be 1, 2 or 3 .* got {degrees}"):
        spherical_harmonics(vectors(2), degrees)


@pytest.mark.parametrize("wrong", [torch.zeros(3, 2), torch.tensor(1.0), torch.zeros(2, 3, dtype=torch.int64)])
def test_wrong_vectors_are_named(wrong):
    with pytest.raises(ValueError, match=r"vectors: expected a floating tensor \(\.\.\., 3\)"):
        spherical_harmonics(wrong, 2)
