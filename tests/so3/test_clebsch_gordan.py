"""Clebsch-Gordan coefficients: normalization, signs, equivariance, exchange of the factors."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from ditkernels.so3 import clebsch_gordan, spherical_harmonics, wigner_d
from ditkernels.so3.tables import CLEBSCH_GORDAN
from tests.support.rotations import random_orthogonal

PATHS = sorted(CLEBSCH_GORDAN)
EVEN = [path for path in PATHS if sum(path) % 2 == 0]


def test_every_path_of_the_triangle_rule():
    allowed = [p for p in itertools.product(range(3), repeat=3) if abs(p[0] - p[1]) <= p[2] <= p[0] + p[1]]
    assert allowed == PATHS


@pytest.mark.parametrize("path", PATHS)
def test_columns_are_orthonormal(path):
    cg = clebsch_gordan(*path)
    assert cg.shape == tuple(2 * degree + 1 for degree in path)
    product = torch.einsum("Mnm,Mnk->mk", cg, cg)
    torch.testing.assert_close(product, torch.eye(2 * path[2] + 1, dtype=torch.float64), rtol=0, atol=1e-15)


@pytest.mark.parametrize("degrees", list(itertools.product(range(3), repeat=2)))
def test_outputs_of_different_degree_are_orthogonal(degrees):
    outputs = [clebsch_gordan(*path).flatten(0, 1) for path in PATHS if path[:2] == degrees]
    basis = torch.cat(outputs, 1)
    torch.testing.assert_close(basis.T @ basis, torch.eye(basis.shape[1], dtype=torch.float64), rtol=0, atol=1e-15)


@pytest.mark.parametrize("path", PATHS)
def test_equivariant(path):
    """(D_J x D_l1) CG = CG D_lo for every rotation."""
    rotation = random_orthogonal(5)
    filter_d, value_d, output_d = (wigner_d(rotation, degree) for degree in path)
    cg = clebsch_gordan(*path)
    left = torch.einsum("MN,nk,Nkm->Mnm", filter_d, value_d, cg)
    torch.testing.assert_close(left, torch.einsum("Mnk,km->Mnm", cg, output_d), rtol=0, atol=1e-14)


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_scalars_multiply(degree):
    identity = torch.eye(2 * degree + 1, dtype=torch.float64)
    assert torch.equal(clebsch_gordan(0, degree, degree)[0], identity)
    assert torch.equal(clebsch_gordan(degree, 0, degree)[:, 0], identity)


def test_vectors_have_dot_and_cross_products():
    y, v = torch.randn(2, 3, dtype=torch.float64)
    dot = torch.einsum("M,n,Mnm->m", y, v, clebsch_gordan(1, 1, 0))
    torch.testing.assert_close(dot, (y @ v / math.sqrt(3))[None])
    cross = torch.einsum("M,n,Mnm->m", y, v, clebsch_gordan(1, 1, 1))
    torch.testing.assert_close(cross, torch.linalg.cross(y, v) / math.sqrt(2))


@pytest.mark.parametrize("path", EVEN)
def test_harmonics_of_one_vector_multiply_with_positive_sign(path):
    y = spherical_harmonics(torch.randn(3, dtype=torch.float64), 3)
    filter_y, value_y, output_y = (y[degree**2 : (degree + 1) ** 2] for degree in path)
    product = torch.einsum("M,n,Mnm->m", filter_y, value_y, clebsch_gordan(*path))
    factor = product @ output_y
    assert factor > 0.1
    torch.testing.assert_close(product, factor * output_y, rtol=0, atol=1e-14)


@pytest.mark.parametrize("path", PATHS)
def test_exchange_of_filter_and_value(path):
    filter_degree, value, output = path
    exchanged = clebsch_gordan(value, filter_degree, output).transpose(0, 1)
    torch.testing.assert_close(clebsch_gordan(*path), (-1) ** sum(path) * exchanged, rtol=0, atol=0)


def test_dtype():
    assert clebsch_gordan(1, 1, 2, torch.float32).dtype == torch.float32
    assert torch.equal(clebsch_gordan(1, 1, 2, torch.float32), clebsch_gordan(1, 1, 2).float())


@pytest.mark.parametrize("path", [(0, 1, 2), (1, 2, 0), (3, 3, 0), (-1, 1, 0)])
def test_a_missing_path_is_named(path):
    with pytest.raises(ValueError, match="there is no path {} x {} -> {}".format(*path)):
        clebsch_gordan(*path)
