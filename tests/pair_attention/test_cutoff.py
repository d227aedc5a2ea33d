"""A multiplicative cutoff weights exp(logit), and 0 forbids the pair."""

from __future__ import annotations

import pytest
import torch

from tests.pair_attention.cases import make_batch

SIZES = [3, 1, 5]


def cutoffs() -> torch.Tensor:
    values = torch.rand(sum(n * n for n in SIZES), dtype=torch.float64) + 0.1
    values[torch.rand(values.shape) < 0.3] = 0.0
    return values


def test_equals_a_mask_and_the_logarithm_as_bias(impl):
    batch, cutoff = make_batch("table", SIZES, mask=True, bias=True), cutoffs()
    inside = cutoff > 0
    logarithm = torch.where(inside, cutoff, 1.0).log()[:, None]
    expected = batch.run(impl, mask=batch.mask & inside, bias=batch.bias + logarithm)
    torch.testing.assert_close(batch.run(impl, cutoff=cutoff), expected)


def test_weights_the_softmax(impl):
    batch, cutoff = make_batch("dense", [4], heads=1), torch.rand(16, dtype=torch.float64)
    ones = torch.ones_like(batch.value)
    batch.value = ones
    logits = torch.einsum("ic,jc,ijc->ij", batch.query[:, 0], batch.key[:, 0], batch.pair.a.reshape(4, 4, -1))
    weights = cutoff.reshape(4, 4) * (3**-0.5 * logits).exp()
    expected = torch.einsum("ij,ijc->ic", weights / weights.sum(1, keepdim=True), batch.pair.b.reshape(4, 4, -1))
    torch.testing.assert_close(batch.run(impl, cutoff=cutoff)[:, 0], expected)


def test_gradient_of_the_cutoff(impl):
    batch, cutoff = make_batch("table", [3], mask=False), torch.rand(9, dtype=torch.float64) + 0.1
    assert torch.autograd.gradcheck(lambda c: batch.run(impl, cutoff=c), cutoff.requires_grad_())


def test_gradient_is_finite_where_it_is_zero(impl):
    batch, cutoff = make_batch("table", SIZES), cutoffs().requires_grad_()
    (gradient,) = torch.autograd.grad(batch.run(impl, cutoff=cutoff).square().sum(), cutoff)
    assert gradient.isfinite().all() and (gradient[cutoff == 0] == 0).all() and (gradient != 0).any()


@pytest.mark.parametrize("shape", [(8,), (9, 1)])
def test_wrong_shape(impl, shape):
    batch = make_batch("table", [3])
    with pytest.raises(ValueError, match=r"cutoff must have shape \(P,\) = \(9,\)"):
        batch.run(impl, cutoff=torch.ones(shape, dtype=torch.float64))
