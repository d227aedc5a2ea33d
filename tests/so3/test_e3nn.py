"""Conversions to and from e3nn: harmonics, rotations, coefficients, whole tensor products, layouts."""

from __future__ import annotations

import pytest
import torch
from e3nn import o3

from ditkernels.so3 import Irreps, clebsch_gordan, rotation_matrix, spherical_harmonics
from ditkernels.so3.conventions import (
    CONVENTIONS,
    change_of_basis,
    e3nn_path_weight,
    from_convention,
    from_e3nn_layout,
    to_convention,
    to_e3nn_layout,
)
from ditkernels.so3.tables import CLEBSCH_GORDAN
from tests.support.rotations import random_orthogonal

PATHS = sorted(CLEBSCH_GORDAN)
NORMALIZATIONS = ("component", "norm", "integral")
ALL_DEGREES = Irreps.natural(2)


@pytest.fixture(autouse=True)
def double_precision():
    """e3nn stores its constants in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def e3nn_harmonics(v, normalization):
    return o3.spherical_harmonics([0, 1, 2], v, normalize=True, normalization=normalization)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_harmonics(normalization):
    v = torch.randn(6, 3, dtype=torch.float64)
    ours, theirs = spherical_harmonics(v, 3)[..., None], e3nn_harmonics(v, normalization)[..., None]
    convention = f"e3nn-{normalization}"
    torch.testing.assert_close(to_convention(ours, ALL_DEGREES, convention), theirs, rtol=0, atol=1e-14)
    torch.testing.assert_close(from_convention(theirs, ALL_DEGREES, convention), ours, rtol=0, atol=1e-14)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_there_and_back(convention, dtype):
    irreps = Irreps("2- 0+ 1+ 1-")
    x = torch.randn(2, 3, irreps.dim, 5, dtype=dtype)
    tolerance = 8 * torch.finfo(dtype).eps
    there = to_convention(x, irreps, convention)
    assert there.dtype == dtype
    torch.testing.assert_close(from_convention(there, irreps, convention), x, rtol=tolerance, atol=tolerance)
    back = from_convention(x, irreps, convention)
    torch.testing.assert_close(to_convention(back, irreps, convention), x, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("determinant", [1, -1])
def test_wigner_matrices(determinant):
    irreps = Irreps("0+ 1- 2+ 0- 1+ 2-")
    matrix = random_orthogonal(3, determinant)
    theirs = o3.Irreps("0e + 1o + 2e + 0o + 1e + 2o").D_from_matrix(matrix)
    basis = torch.block_diag(*(change_of_basis(degree, "e3nn-norm") for degree in irreps.degrees))
    torch.testing.assert_close(basis @ rotation_matrix(irreps, matrix) @ basis.T, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", PATHS)
def test_coefficients(path):
    bases = [change_of_basis(degree, "e3nn-norm") for degree in path]
    ours = torch.einsum("ABC,aA,bB,cC->abc", clebsch_gordan(*path), *bases)
    theirs = o3.wigner_3j(*path, dtype=torch.float64)
    torch.testing.assert_close(ours, e3nn_path_weight(*path, "e3nn-norm") * theirs, rtol=0, atol=1e-14)


@pytest.mark.parametrize("filter_first", [True, False])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("path", PATHS)
def test_a_weighted_path_equals_a_tensor_product(path, normalization, filter_first):
    filter_degree, value, output = path
    weight, v = 0.7, torch.randn(4, 3, dtype=torch.float64)
    x = torch.randn(4, 2 * value + 1, 1, dtype=torch.float64)
    y = spherical_harmonics(v, 3)[:, filter_degree**2 : (filter_degree + 1) ** 2]
    ours = weight * torch.einsum("bM,bnc,Mnm->bmc", y, x, clebsch_gordan(*path))

    order = path[:2] if filter_first else path[1::-1]
    product = o3.TensorProduct(
        *(f"1x{degree}e" for degree in (*order, output)),
        instructions=[(0, 0, 0, "uvu", True)],
        irrep_normalization="none",
        path_normalization="none",
        shared_weights=False,
        internal_weights=False,
    )
    convention = f"e3nn-{normalization}"
    theirs_y = o3.spherical_harmonics(filter_degree, v, normalize=True, normalization=normalization)
    theirs_x = to_convention(x, str(value), "e3nn-norm")[..., 0]
    factor = e3nn_path_weight(*path, convention, filter_first)
    inputs = (theirs_y, theirs_x) if filter_first else (theirs_x, theirs_y)
    theirs = product(*inputs, torch.full((4, 1), weight * factor, dtype=torch.float64))
    expected = from_convention(theirs[..., None], str(output), "e3nn-norm")
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-13)


def test_layout():
    irreps, channels = Irreps("0+ 1- 2+"), 5
    x = torch.randn(3, 2, irreps.dim, channels)
    flat = to_e3nn_layout(x, irreps)
    theirs = o3.Irreps(f"{channels}x0e + {channels}x1o + {channels}x2e")
    assert flat.shape == (3, 2, theirs.dim)
    for part, irrep, (mul, ir) in zip(theirs.slices(), irreps.slices, theirs, strict=True):
        block = flat[..., part].reshape(3, 2, mul, ir.dim)
        torch.testing.assert_close(block, x[..., irrep, :].mT, rtol=0, atol=0)
    assert torch.equal(from_e3nn_layout(flat, irreps), x)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="convention must be one of 'e3nn-component', .* got 'e3nn'"):
        change_of_basis(1, "e3nn")
    with pytest.raises(ValueError, match="degree must be 0, 1 or 2, got 3"):
        change_of_basis(3, "e3x-m")
    for function in (to_e3nn_layout, lambda x, irreps: to_convention(x, irreps, "e3x-m")):
        with pytest.raises(ValueError, match=r'features: expected \(\.\.\., 4, C\) for "0\+ 1-", got \(2, 3, 5\)'):
            function(torch.zeros(2, 3, 5), "0+ 1-")
    with pytest.raises(ValueError, match=r"features: expected \(\.\.\., 4 \* C\)"):
        from_e3nn_layout(torch.zeros(2, 6), "0+ 1-")
