"""Rotation matrices of irreps: a homomorphism, orthogonal, the right sign under reflections."""

from __future__ import annotations

import pytest
import torch

from ditkernels.so3 import Irreps, rotation_matrix, wigner_d
from tests.support.rotations import random_orthogonal

IDENTITY = torch.eye(3, dtype=torch.float64)


@pytest.mark.parametrize("degree", [0, 1, 2])
@pytest.mark.parametrize("determinants", [(1, 1), (1, -1), (-1, -1)])
def test_products_of_rotations(degree, determinants):
    a, b = (random_orthogonal(seed, determinant) for seed, determinant in enumerate(determinants))
    product = wigner_d(a, degree) @ wigner_d(b, degree)
    torch.testing.assert_close(wigner_d(a @ b, degree), product, rtol=0, atol=1e-14)


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_orthogonal_with_the_identity(degree):
    identity = torch.eye(2 * degree + 1, dtype=torch.float64)
    torch.testing.assert_close(wigner_d(IDENTITY, degree), identity, rtol=0, atol=1e-15)
    d = wigner_d(random_orthogonal(1), degree)
    torch.testing.assert_close(d @ d.T, identity, rtol=0, atol=1e-14)


def test_trace_is_the_character():
    """tr D_l of a turn by the angle a is 1 + 2 cos a + ... + 2 cos la."""
    rotation = random_orthogonal(2)
    angle = ((rotation.trace() - 1) / 2).arccos()
    expected = 1 + 2 * angle.cos() + 2 * (2 * angle).cos()
    torch.testing.assert_close(wigner_d(rotation, 2).trace(), expected, rtol=0, atol=1e-14)


def test_batches_of_rotations_and_gradients():
    rotations = torch.stack([random_orthogonal(seed) for seed in range(4)]).reshape(2, 2, 3, 3)
    assert wigner_d(rotations, 0).shape == (2, 2, 1, 1)
    assert wigner_d(rotations, 1).shape == (2, 2, 3, 3)
    torch.testing.assert_close(wigner_d(rotations, 2)[1, 0], wigner_d(rotations[1, 0], 2))
    assert torch.autograd.gradcheck(lambda x: wigner_d(x, 2), rotations.requires_grad_())


def test_blocks_of_a_list():
    rotation = random_orthogonal(4)
    matrix = rotation_matrix("0+ 2- 1+", rotation)
    expected = torch.block_diag(*(wigner_d(rotation, degree) for degree in (0, 2, 1)))
    torch.testing.assert_close(matrix, expected)
    assert rotation_matrix(Irreps("0 1"), rotation.float()).dtype == torch.float32


@pytest.mark.parametrize("degree", [0, 1, 2])
@pytest.mark.parametrize(("label", "sign"), [("+", 1), ("-", -1)])
def test_reflections_have_the_sign_of_the_parity(degree, label, sign):
    rotation = random_orthogonal(6)
    found = rotation_matrix(f"{degree}{label}", -rotation)
    torch.testing.assert_close(found, sign * wigner_d(rotation, degree), rtol=0, atol=1e-15)


def test_products_with_reflections():
    a, b = random_orthogonal(7, -1), random_orthogonal(8, -1)
    irreps = Irreps.with_parity(2)
    product = rotation_matrix(irreps, a) @ rotation_matrix(irreps, b)
    torch.testing.assert_close(rotation_matrix(irreps, a @ b), product, rtol=0, atol=1e-14)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="degree must be 0, 1 or 2, got 3"):
        wigner_d(IDENTITY, 3)
    with pytest.raises(ValueError, match=r"rotation: expected floating \(\.\.\., 3, 3\)"):
        wigner_d(torch.eye(2), 1)
    with pytest.raises(ValueError, match=r"orthogonal: expected floating \(3, 3\)"):
        rotation_matrix("0+", torch.eye(3)[None])
    with pytest.raises(ValueError, match="orthogonal: the rows must be orthonormal"):
        rotation_matrix("0+", 2 * IDENTITY)
    with pytest.raises(ValueError, match='a reflection does not act on irreps without parity labels, "0 1"'):
        rotation_matrix("0 1", -IDENTITY)
