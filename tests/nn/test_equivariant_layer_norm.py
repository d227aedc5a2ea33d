"""The equivariant layer norm: its two scales, and its behaviour at zero."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from ditkernels.nn import EquivariantLayerNorm
from tests.support.rotations import random_orthogonal, turned

IRREPS = "0+ 1+ 0- 1-"
EPS = {"rms": 1e-2, "variance": 1e-6}


def features(spread=1.0):
    return (torch.randn(6, 8, 16) * spread).double()


@pytest.mark.parametrize("scale", ["rms", "variance"])
def test_values_are_those_of_the_formula(scale):
    x = features()
    out = EquivariantLayerNorm(IRREPS, scale=scale)(x)
    for t in range(len(x)):
        scalar = x[t, 0]
        assert_close(out[t, 0], (scalar - scalar.mean()) / (scalar.var(correction=0) + 1e-6).sqrt())
        for group in (slice(1, 4), slice(4, 5), slice(5, 8)):
            norms = x[t, group].norm(dim=0)
            size = norms.square().mean() if scale == "rms" else norms.var(correction=0)
            assert_close(out[t, group], x[t, group] / (size + EPS[scale]).sqrt())


def test_variance_takes_tiny_norms_as_zero():
    """One feature of norm 1, the others below 1e-3: they count as 0 in the variance, and are divided all the same."""
    x = torch.zeros(1, 3, 4, dtype=torch.float64)
    x[0, 0] = torch.tensor([1.0, 9e-4, 0.0, -5e-4])
    deviation = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64).var(correction=0)
    expected = x / (deviation + 1e-6).sqrt()
    assert_close(EquivariantLayerNorm("1-", scale="variance")(x), expected, atol=1e-14, rtol=1e-13)


def test_variance_amplifies_equal_norms_and_rms_does_not():
    x = torch.randn(1, 3, 1, dtype=torch.float64).expand(1, 3, 8)
    x = x / x.norm(dim=1, keepdim=True)
    assert_close(EquivariantLayerNorm("1-", scale="variance")(x).norm(dim=1), torch.full((1, 8), 1e3).double())
    assert_close(EquivariantLayerNorm("1-")(x).norm(dim=1), torch.ones(1, 8).double(), atol=1e-2, rtol=0)


@pytest.mark.parametrize("scale", ["rms", "variance"])
@pytest.mark.parametrize("irreps", [IRREPS, "0+ 1- 2+", "0- 2-"])
@pytest.mark.parametrize("determinant", [1, -1])
def test_commutes_with_rotations(scale, irreps, determinant):
    norm = EquivariantLayerNorm(irreps, scale=scale)
    x, q = torch.randn(5, norm.irreps.dim, 16).double(), random_orthogonal(2, determinant)
    assert_close(norm(turned(x, irreps, q)), turned(norm(x), irreps, q), atol=1e-12, rtol=0)


@pytest.mark.parametrize("scale", ["rms", "variance"])
def test_zero_vectors_stay_zero_with_finite_gradients(scale):
    x = features()
    x[:, 1:] = 0
    x[0] = 0
    x.requires_grad_()
    out = EquivariantLayerNorm(IRREPS, scale=scale)(x)
    assert (out[:, 1:] == 0).all()
    (gradient,) = torch.autograd.grad(out.sin().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), x)
    assert torch.isfinite(gradient).all() and torch.isfinite(second).all()
    # A vector at 0 grows as x / sqrt(eps).
    assert_close(gradient[:, 1:], torch.full_like(gradient[:, 1:], EPS[scale] ** -0.5))


def test_rms_does_not_blow_up_rounding():
    """What symmetry forbids is 1e-7 by rounding, and stays small."""
    noise = 1e-7 * torch.randn(1, 1, 16)
    assert EquivariantLayerNorm("0-")(noise).abs().max() < 1e-5
    assert EquivariantLayerNorm("0-", eps=1e-6)(noise).abs().max() > 1e-5


@pytest.mark.parametrize("scale", ["rms", "variance"])
def test_gradients(scale):
    x = features()[:2].requires_grad_()
    assert torch.autograd.gradcheck(EquivariantLayerNorm(IRREPS, scale=scale), x)


def test_half_precision_is_measured_in_float32():
    x = (torch.randn(6, 8, 16) * 300).half()  # squares overflow float16
    norm = EquivariantLayerNorm(IRREPS)
    assert norm(x).dtype == torch.float16
    assert_close(norm(x).float(), norm(x.float()), atol=2e-3, rtol=2e-3)


def test_has_no_parameters():
    assert not EquivariantLayerNorm(IRREPS).state_dict()


def test_errors():
    with pytest.raises(ValueError, match="scale must be one of rms, variance, got 'std'"):
        EquivariantLayerNorm(IRREPS, scale="std")
    with pytest.raises(ValueError, match=r"x must have shape \(\.\.\., 8, C\)"):
        EquivariantLayerNorm(IRREPS)(torch.zeros(4, 4, 16))
