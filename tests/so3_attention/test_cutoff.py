"""A multiplicative cutoff weights exp(logit), 0 forbids the pair, and a smooth one leaves no step at its edge."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ditkernels.so3 import polynomial_cutoff
from tests.so3_attention.cases import FORMS, make_batch

SIZES = [3, 1, 5]


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_equals_a_mask_and_the_logarithm_as_bias(impl, irreps, radial):
    batch = make_batch(irreps, radial, SIZES, mask=True, bias=True, cutoff=True)
    inside = batch.cutoff > 0
    assert inside.any() and not inside.all()
    logarithm = torch.where(inside, batch.cutoff, 1.0).log()[:, None]
    expected = batch.run(impl, mask=batch.mask & inside, bias=batch.bias + logarithm, cutoff=None)
    torch.testing.assert_close(batch.run(impl), expected)


def test_weights_the_softmax(impl):
    """Scalars with g = w = v = 1 for one sender: its attention weight."""
    batch = make_batch("scalars", "dense", [4], heads=1)
    cutoff = torch.rand(16, dtype=torch.float64)
    batch = batch.with_leaves({name: torch.ones_like(batch.leaves()[name]) for name in ("g", "path_weight", "value")})
    batch.value[[0, 1, 3]] = 0
    logits = torch.einsum("ic,jc,ijc->ij", batch.query[:, 0, 0], batch.key[:, 0, 0], batch.radial.a.view(4, 4, -1))
    weights = cutoff.view(4, 4) * (3**-0.5 * logits).exp()
    expected = (weights / weights.sum(1, keepdim=True))[:, 2]
    torch.testing.assert_close(batch.run(impl, cutoff=cutoff), expected[:, None, None, None].expand(4, 1, 1, 3))


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_ones_change_nothing_and_a_common_factor_cancels(impl, irreps, radial):
    batch = make_batch(irreps, radial, SIZES, bias=True)
    for value in (1.0, 1e-30, 1e30):
        cutoff = torch.full((35,), value, dtype=torch.float64)
        torch.testing.assert_close(batch.run(impl, cutoff=cutoff), batch.run(impl))


def test_zero_forbids_the_pair(impl):
    """As if the atom were not there."""
    batch = make_batch("natural-2", "bernstein", [4])
    cutoff = torch.ones(4, 4, dtype=torch.float64)
    cutoff[:3, 3] = 0
    smaller = {name: getattr(batch, name)[:3] for name in ("query", "key", "value", "positions")}
    expected = replace(batch, **smaller, cu_seqlens=torch.tensor([0, 3])).run(impl)
    torch.testing.assert_close(batch.run(impl, cutoff=cutoff.flatten())[:3], expected)


def test_all_zero_is_an_empty_row(impl):
    batch = make_batch("natural-1", "dense", [3])
    cutoff = torch.rand(3, 3, dtype=torch.float64)
    cutoff[1] = 0
    out = batch.run(impl, cutoff=cutoff.flatten())
    assert (out[1] == 0).all() and (out[[0, 2]] != 0).all()


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_gradient_of_the_cutoff(impl, irreps, radial):
    batch, cutoff = make_batch(irreps, radial, [3]), torch.rand(9, dtype=torch.float64) + 0.1
    function = lambda c: batch.run(impl, cutoff=c)  # noqa: E731
    assert torch.autograd.gradcheck(function, cutoff.requires_grad_(), fast_mode=True)
    assert torch.autograd.gradgradcheck(function, cutoff, fast_mode=True)


def test_gradient_is_finite_where_it_is_zero(impl):
    batch = make_batch("natural-1", "bernstein", SIZES, cutoff=True)
    _, gradients = batch.gradients(impl, batch.cotangent())
    gradient = gradients["cutoff"]
    assert gradient.isfinite().all() and (gradient[batch.cutoff == 0] == 0).all() and (gradient != 0).any()


@pytest.mark.parametrize("kind", ["bernstein", "gaussian", "bessel"])
def test_no_step_where_an_atom_leaves(impl, kind):
    """Output, forces and their change along the way are continuous where an atom crosses the cutoff radius."""
    radius = 2.0
    batch = make_batch("natural-1", kind, [3])
    start = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, radius, 0]], dtype=torch.float64)

    def forces(step):
        """The output and the gradient, where atom 2 is `step` beyond the radius around atom 0."""
        positions = start.clone()
        positions[2, 1] += step
        positions.requires_grad_()
        distance = torch.cdist(positions, positions, compute_mode="donot_use_mm_for_euclid_dist").flatten()
        out = replace(batch, positions=positions).run(impl, cutoff=polynomial_cutoff(distance, radius))
        return out.detach(), torch.autograd.grad(out.sin().sum(), positions)[0]

    for inside, outside in zip(forces(-1e-4), forces(1e-4), strict=True):
        assert (outside - inside).abs().max() < 1e-3 * inside.abs().max()
    inside, outside, far = (forces(step)[0][0] for step in (-1e-4, 0.0, 0.5))
    torch.testing.assert_close(outside, far)  # receiver 0 no longer sees atom 2
    assert (inside - outside).abs().max() < 1e-9


@pytest.mark.parametrize("shape", [(8,), (9, 1), (9, 2)])
def test_wrong_shape(impl, shape):
    batch = make_batch("natural-1", "dense", [3])
    with pytest.raises(ValueError, match=r"cutoff must have shape \(P,\) = \(9,\)"):
        batch.run(impl, cutoff=torch.ones(shape, dtype=torch.float64))


def test_wrong_dtype_or_device(impl):
    batch = make_batch("natural-1", "dense", [3])
    with pytest.raises(ValueError, match="cutoff must be float64 or float32"):
        batch.run(impl, cutoff=torch.ones(9, dtype=torch.float16))
    with pytest.raises(ValueError, match="cutoff must be on the device of query"):
        batch.run(impl, cutoff=torch.ones(9, dtype=torch.float64, device="meta"))
