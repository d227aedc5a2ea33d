"""Derivatives of the radial bases: right to second order by autograd, at r = 0 and everywhere else."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from ditkernels.so3 import RADIAL_BASES, polynomial_cutoff, radial_basis

DISTANCES = [0.0, 1e-6, 1e-3, 0.1, 0.74, 1.54, 5.0, 12.0, 1e4]
CUTOFF = {"bernstein": None, "gaussian": 5.0, "bessel": 5.0}


def derivatives(kind, r, weight, orders):
    """f(r) = sum_k weight_k g_k(r) and its derivatives, (N) each, by reverse mode."""
    r = r.clone().requires_grad_()
    results = [radial_basis(kind, r, len(weight), CUTOFF[kind]) @ weight]
    for _ in range(orders):
        results += torch.autograd.grad(results[-1].sum(), r, create_graph=True)
    return [result.detach() for result in results]


def forward_derivatives(kind, r, count, orders):
    """The basis and its derivatives, (N, K) each, by forward mode."""

    def basis(x):
        return radial_basis(kind, x, count, CUTOFF[kind])

    def differentiated(function):
        return lambda x: torch.func.jvp(function, (x,), (torch.ones_like(x),))[1]

    functions = [basis]
    for _ in range(orders):
        functions.append(differentiated(functions[-1]))
    return [function(r) for function in functions]


def bernstein_derivatives(r, count):
    """(value, first, second) of C r^n (1 + r)^-(K-1), in rational numbers."""
    r, power = Fraction(r), count - 1

    def term(n, p):
        return r**n / (1 + r) ** p if n >= 0 else Fraction(0)

    rows = []
    for n in range(count):
        value = term(n, power)
        first = n * term(n - 1, power) - power * term(n, power + 1)
        second = n * (n - 1) * term(n - 2, power) - 2 * n * power * term(n - 1, power + 1)
        second += power * (power + 1) * term(n, power + 2)
        rows.append([float(math.comb(power, n) * x) for x in (value, first, second)])
    return rows


@pytest.mark.parametrize("count", [2, 3, 8, 64, 128])
def test_bernstein_derivatives_are_exact(count):
    r, weight = torch.tensor(DISTANCES, dtype=torch.float64), torch.randn(count, dtype=torch.float64)
    expected = torch.tensor([bernstein_derivatives(x, count) for x in DISTANCES], dtype=torch.float64)
    # Per distance, since derivatives fall with powers of it; that of r / (1 + r) is a difference of two such terms.
    tolerance = (1e-13 + 1e-15 * r) * count
    reverse, forward = derivatives("bernstein", r, weight, 2), forward_derivatives("bernstein", r, count, 2)
    for order in range(3):
        right = expected[..., order]
        size = right.abs().amax(1)
        assert ((forward[order] - right).abs().amax(1) <= tolerance * size).all()
        assert ((reverse[order] - right @ weight).abs() <= tolerance * size * weight.abs().sum()).all()


def test_a_single_bernstein_function_is_constant():
    for found, expected in zip(forward_derivatives("bernstein", torch.tensor(DISTANCES), 1, 2), (1.0, 0.0, 0.0)):
        assert torch.equal(found, torch.full((len(DISTANCES), 1), expected))


def test_bessel_derivatives_at_zero():
    """The power series of sqrt(2/c) sin(k r) / r: k, 0, -k^3 / 3, 0, k^5 / 5."""
    k = torch.arange(1, 17, dtype=torch.float64) * math.pi / 5
    zero = torch.zeros_like(k)
    expected = [math.sqrt(2 / 5) * x for x in (k, zero, -(k**3) / 3, zero, k**5 / 5)]
    weight = torch.randn(16, dtype=torch.float64)
    for distance in (0.0, 1e-12):
        r = torch.tensor([distance], dtype=torch.float64)
        forward, reverse = forward_derivatives("bessel", r, 16, 4), derivatives("bessel", r, weight, 4)
        for order, right in enumerate(expected):
            torch.testing.assert_close(forward[order][0], right, rtol=1e-13, atol=1e-7)
            torch.testing.assert_close(reverse[order][0], right @ weight, rtol=1e-12, atol=1e-6)


@pytest.mark.parametrize("kind", RADIAL_BASES)
def test_derivatives_are_the_limits_of_differences(kind):
    r, step = torch.tensor([1e-3, 0.09, 0.1, 0.74, 0.8, 1.54, 5.0, 12.0], dtype=torch.float64), 1e-5
    found = forward_derivatives(kind, r, 16, 2)
    ahead, behind = (forward_derivatives(kind, r + shift, 16, 1) for shift in (step, -step))
    for order in (1, 2):
        difference = (ahead[order - 1] - behind[order - 1]) / (2 * step)
        tolerance = 1e-7 * found[order].abs().max().item()
        torch.testing.assert_close(found[order], difference, rtol=1e-6, atol=tolerance)


@pytest.mark.parametrize("kind", RADIAL_BASES)
def test_first_and_second_derivatives(kind):
    r = torch.tensor([0.03, 0.4, 1.1, 2.9, 7.0], dtype=torch.float64, requires_grad=True)

    def function(x):
        return radial_basis(kind, x, 6, CUTOFF[kind])

    assert torch.autograd.gradcheck(function, r)
    assert torch.autograd.gradgradcheck(function, r)


@pytest.mark.parametrize("kind", RADIAL_BASES)
@pytest.mark.parametrize("count", [64, 128])
def test_float32_derivatives(kind, count):
    r = torch.cat([torch.tensor(DISTANCES), torch.rand(100) * 12])
    weight = torch.randn(count)
    results = derivatives(kind, r, weight, 2)
    references = derivatives(kind, r.double(), weight.double(), 2)
    sizes = [x.abs().max() for x in forward_derivatives(kind, r.double(), count, 2)]
    for found, expected, size in zip(results, references, sizes, strict=True):
        assert found.dtype == torch.float32 and found.isfinite().all()
        assert (found.double() - expected).abs().max() <= 1e-6 * size * weight.abs().sum()


@pytest.mark.parametrize("kind", RADIAL_BASES)
def test_derivatives_of_any_order_stay_finite(kind):
    r = torch.tensor(DISTANCES, dtype=torch.float64, requires_grad=True)
    derivative = radial_basis(kind, r, 16, CUTOFF[kind])
    for _ in range(5):
        (derivative,) = torch.autograd.grad(derivative.sum(), r, create_graph=True)
        assert derivative.isfinite().all()


def test_cutoff_function_is_twice_differentiable():
    r = torch.tensor([0.0, 1.0, 4.999999, 5.0, 5.000001, 9.0], dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(polynomial_cutoff(r, 5.0).sum(), r, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), r)
    x = r.detach().clamp(max=5.0) / 5
    torch.testing.assert_close(first.detach(), -30 * (x * (1 - x)) ** 2 / 5, rtol=0, atol=1e-14)
    torch.testing.assert_close(second, -60 * x * (1 - x) * (1 - 2 * x) / 25, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", RADIAL_BASES)
def test_one_graph(kind):
    """The number of functions may be a size that the graph does not know."""

    def function(r, weight):
        return radial_basis(kind, r, weight.shape[0], CUTOFF[kind]) @ weight

    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend="aot_eager")
    for size, count in ((4, 16), (7, 16), (7, 24)):
        r, weight = (torch.rand(size) * 6).requires_grad_(), torch.randn(count, 2)
        found, expected = compiled(r, weight), function(r, weight)
        torch.testing.assert_close(found, expected)
        cotangent = torch.randn_like(found)
        torch.testing.assert_close(*(torch.autograd.grad(x, r, cotangent)[0] for x in (found, expected)))


@pytest.mark.parametrize("kind", RADIAL_BASES)
def test_vmap(kind):
    r = torch.rand(3, 4, dtype=torch.float64) * 6
    r[1, 2] = 0
    expected = radial_basis(kind, r, 8, CUTOFF[kind])
    torch.testing.assert_close(torch.func.vmap(lambda x: radial_basis(kind, x, 8, CUTOFF[kind]))(r), expected)
