"""Values of the radial bases against exact arithmetic, from r = 0 to large r, in float32 and float64."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from ditkernels.so3 import RADIAL_BASES, polynomial_cutoff, radial_basis

DISTANCES = [0.0, 1e-6, 1e-3, 0.1, 0.74, 1.0, 1.54, 3.0, 5.0, 12.0, 50.0, 1e4]
CUTOFF = {"bernstein": None, "gaussian": 5.0, "bessel": 5.0}


def bernstein(r, count):
    """C(K-1, n) r^n / (1 + r)^(K-1), in rational numbers."""
    r = Fraction(r)
    return [float(math.comb(count - 1, n) * r**n / (1 + r) ** (count - 1)) for n in range(count)]


def gaussian(r, count, cutoff):
    width = cutoff / (count - 1) if count > 1 else cutoff
    return [math.exp(-0.5 * ((r - n * width) / width) ** 2) for n in range(count)]


def bessel(r, count, cutoff):
    if r == 0:
        return [math.sqrt(2 / cutoff) * n * math.pi / cutoff for n in range(1, count + 1)]
    return [math.sqrt(2 / cutoff) * math.sin(n * math.pi * r / cutoff) / r for n in range(1, count + 1)]


def exact(kind, distances, count):
    formula = {"bernstein": bernstein, "gaussian": gaussian, "bessel": bessel}[kind]
    rest = () if kind == "bernstein" else (CUTOFF[kind],)
    return torch.tensor([formula(float(r), count, *rest) for r in distances], dtype=torch.float64)


@pytest.mark.parametrize("count", [1, 2, 3, 32, 64, 128])
@pytest.mark.parametrize("kind", RADIAL_BASES)
def test_values(kind, count):
    r = torch.tensor(DISTANCES, dtype=torch.float64)
    found = radial_basis(kind, r, count, CUTOFF[kind])
    expected = exact(kind, r, count)
    assert found.shape == (len(DISTANCES), count)
    # The phase n pi r / cutoff of the Bessel functions reaches 8e5, where float64 resolves 1e-10.
    tolerance = 1e-10 if kind == "bessel" else 1e-13
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("kind", RADIAL_BASES)
def test_values_near_zero(kind):
    """Where the Bessel functions pass from the series to the quotient, and below."""
    r = torch.logspace(-12, 0, 200, dtype=torch.float64)
    torch.testing.assert_close(radial_basis(kind, r, 16, CUTOFF[kind]), exact(kind, r, 16), rtol=2e-14, atol=1e-300)


@pytest.mark.parametrize("count", [64, 128])
@pytest.mark.parametrize("kind", RADIAL_BASES)
def test_float32_error(kind, count):
    """Rounded once: half a unit in the last place of float32, whatever the size of the exponents inside."""
    r = torch.cat([torch.rand(500) * 12, torch.tensor(DISTANCES)])
    found = radial_basis(kind, r, count, CUTOFF[kind])
    assert found.dtype == torch.float32
    expected = radial_basis(kind, r.double(), count, CUTOFF[kind])
    assert (found.double() - expected).abs().max() <= 1e-7 * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 2, 64, 128])
def test_bernstein_functions_sum_to_one(dtype, count):
    r = torch.tensor([*DISTANCES, 1e8, 1e30], dtype=dtype)
    total = radial_basis("bernstein", r, count).sum(-1)
    # tau and 1 - tau are rounded to float64, and then raised to powers up to K - 1.
    tolerance = max(4 * torch.finfo(dtype).eps, 2 * count * torch.finfo(torch.float64).eps)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=tolerance)


def test_bernstein_at_the_ends():
    """Exactly one function is 1: the first at r = 0, the last where r + 1 = r to all digits."""
    ends = radial_basis("bernstein", torch.tensor([0.0, 1e30]), 64)
    assert torch.equal(ends[0], torch.eye(64)[0])
    assert ends[1, 63] == 1 and ends[1, :63].max() < 1e-28


@pytest.mark.parametrize("kind", RADIAL_BASES)
def test_shapes(kind):
    assert radial_basis(kind, torch.rand(2, 0, 3), 8, CUTOFF[kind]).shape == (2, 0, 3, 8)
    assert radial_basis(kind, torch.tensor(1.0), 8, CUTOFF[kind]).shape == (8,)


def test_cutoff_function():
    r = torch.tensor([0.0, 2.5, 5.0, 7.0, 1e6], dtype=torch.float64)
    assert torch.equal(polynomial_cutoff(r, 5.0), torch.tensor([1.0, 0.5, 0.0, 0.0, 0.0], dtype=torch.float64))
    x = torch.linspace(0, 1, 101, dtype=torch.float64)
    found = polynomial_cutoff(5 * x, 5.0)
    torch.testing.assert_close(found, 1 - 10 * x**3 + 15 * x**4 - 6 * x**5, rtol=0, atol=1e-14)
    assert (found.diff() < 0).all()
    near = torch.nextafter(torch.tensor(5.0), torch.tensor(0.0))
    assert 0 < polynomial_cutoff(near, 5.0) < 1e-18


@pytest.mark.parametrize(
    ("kind", "count", "cutoff", "message"),
    [
        ("fourier", 8, 5.0, "kind must be one of 'bernstein', 'gaussian', 'bessel', got 'fourier'"),
        ("bernstein", 0, None, "count must be at least 1, got 0"),
        ("bernstein", 8, 5.0, "cutoff: the 'bernstein' basis has no cutoff, expected None, got 5.0"),
        ("gaussian", 8, None, "cutoff must be a positive distance in Angstrom for the 'gaussian' basis, got None"),
        ("bessel", 8, 0.0, "cutoff must be a positive distance .* got 0.0"),
        ("bessel", 8, -1.0, "cutoff must be a positive distance .* got -1.0"),
        ("gaussian", 8, math.inf, "cutoff must be a positive distance .* got inf"),
        ("gaussian", 8, math.nan, "cutoff must be a positive distance .* got nan"),
    ],
)
def test_wrong_arguments_are_named(kind, count, cutoff, message):
    with pytest.raises(ValueError, match=message):
        radial_basis(kind, torch.rand(3), count, cutoff)


def test_wrong_distances_and_cutoffs_are_named():
    with pytest.raises(ValueError, match="r: expected a floating tensor, got torch.int64"):
        radial_basis("bernstein", torch.arange(3), 8)
    with pytest.raises(ValueError, match="cutoff must be a positive distance in Angstrom, got 0"):
        polynomial_cutoff(torch.rand(3), 0)
