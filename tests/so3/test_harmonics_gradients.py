"""Derivatives of the spherical harmonics: closed form, autograd and differences agree; zero vectors; transforms."""

from __future__ import annotations

import pytest
import torch

from ditkernels.so3 import spherical_harmonics, spherical_harmonics_with_gradient


def vectors(*shape):
    return torch.randn(*shape, 3, dtype=torch.float64)


def jacobian(v, degrees):
    """dY/dv (N, degrees^2, 3) by autograd."""
    sums = torch.func.jacrev(lambda x: spherical_harmonics(x, degrees).sum(0))(v)
    return sums.transpose(0, 1)


@pytest.mark.parametrize("degrees", [1, 2, 3])
def test_closed_form_is_autograd(degrees):
    v = vectors(9)
    v[4] = 0
    y, gradient = spherical_harmonics_with_gradient(v, degrees)
    assert gradient.shape == (9, degrees**2, 3)
    torch.testing.assert_close(y, spherical_harmonics(v, degrees), rtol=0, atol=0)
    torch.testing.assert_close(gradient, jacobian(v, degrees), rtol=1e-13, atol=1e-14)


def test_closed_form_is_the_limit_of_differences():
    v, step = vectors(6), 1e-5
    _, gradient = spherical_harmonics_with_gradient(v, 3)
    for axis in range(3):
        shift = step * torch.eye(3, dtype=torch.float64)[axis]
        difference = (spherical_harmonics(v + shift, 3) - spherical_harmonics(v - shift, 3)) / (2 * step)
        torch.testing.assert_close(gradient[..., axis], difference, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("degrees", [2, 3])
def test_first_and_second_derivatives(degrees):
    v = vectors(4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: spherical_harmonics(x, degrees), v)
    assert torch.autograd.gradgradcheck(lambda x: spherical_harmonics(x, degrees), v)
    assert torch.autograd.gradcheck(lambda x: spherical_harmonics_with_gradient(x, degrees)[1], v)


def test_all_derivatives_vanish_at_a_zero_vector():
    v = vectors(3)
    v[1] = 0
    v.requires_grad_()
    derivative = spherical_harmonics(v, 3)
    for _ in range(4):
        (derivative,) = torch.autograd.grad(derivative, v, torch.randn_like(derivative), create_graph=True)
        assert derivative.isfinite().all()
        assert torch.equal(derivative[1], torch.zeros(3, dtype=torch.float64))
        assert (derivative[[0, 2]] != 0).any()


@pytest.mark.parametrize("length", [1e-30, 1e-6, 1e4, 1e30])
def test_lengths_far_from_one(length):
    """Gradients fall with the inverse length, in float32 too, where the square of such a length leaves the range."""
    v = torch.randn(5, 3)
    _, gradient = spherical_harmonics_with_gradient(v * length, 3)
    expected = spherical_harmonics_with_gradient(v.double(), 3)[1].float() / length
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6 / length)


def test_vmap():
    v = vectors(4, 5)
    v[1, 2] = 0
    found = torch.func.vmap(lambda x: spherical_harmonics_with_gradient(x, 3))(v)
    for one, expected in zip(found, spherical_harmonics_with_gradient(v, 3), strict=True):
        torch.testing.assert_close(one, expected)
    per_vector = torch.func.vmap(torch.func.vmap(torch.func.jacrev(lambda x: spherical_harmonics(x, 3))))(v)
    torch.testing.assert_close(per_vector, found[1], rtol=1e-12, atol=1e-13)


def test_one_graph():
    torch._dynamo.reset()
    function = torch.compile(spherical_harmonics, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in (4, 7):
        v = vectors(size).requires_grad_()
        found, expected = function(v, 3), spherical_harmonics(v, 3)
        torch.testing.assert_close(found, expected)
        cotangent = torch.randn_like(found)
        gradients = [torch.autograd.grad(y, v, cotangent)[0] for y in (found, expected)]
        torch.testing.assert_close(*gradients)
