"""The chain of noise levels and the loss, against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.testing import assert_close

from ditkernels.models.d3mes.diffusion import TRAINING, draw, loss
from ditkernels.models.d3mes.masks import atom_rows, generated
from tests.support.d3mes import ARMS, images_of, molecules, noisy_batch, small_config, small_network

LOW, HIGH = TRAINING.log_posterior_variance, np.log(TRAINING.betas)


def test_last_level_of_training():
    assert len(TRAINING.betas) == 1000
    assert_allclose(TRAINING.alpha_bar[-1], 4.0358e-5, rtol=1e-4)


def test_respaced_chain_keeps_the_levels_of_the_first():
    chain = TRAINING.respaced(250)
    assert chain.steps[:4].tolist() == [0, 4, 8, 12] and chain.steps[-1] == 999 and len(chain.steps) == 250
    assert chain.steps.tolist() == [round(k * 999 / 249) for k in range(250)]
    assert_allclose(chain.alpha_bar, TRAINING.alpha_bar[chain.steps], rtol=1e-10)
    assert_allclose(TRAINING.respaced(1000).betas, TRAINING.betas, rtol=1e-10)


@pytest.mark.parametrize("count", [0, 1001, -3])
def test_chains_that_do_not_exist(count):
    with pytest.raises(ValueError, match=f"steps must be between 1 and 1000, got {count}"):
        TRAINING.respaced(count)


def test_posterior_is_that_of_bayes():
    """q(x_{t-1} | x_t, x_0) from the product of two normal densities of x_{t-1}."""
    rng, bar = np.random.default_rng(0), TRAINING.alpha_bar
    for t in (1, 2, 500, 999):
        x0, xt, beta = *rng.normal(size=2), TRAINING.betas[t]
        precision = 1 / (1 - bar[t - 1]) + (1 - beta) / beta
        mean = (math.sqrt(bar[t - 1]) * x0 / (1 - bar[t - 1]) + math.sqrt(1 - beta) * xt / beta) / precision
        found = TRAINING.posterior_mean(*(torch.tensor([x], dtype=torch.float64) for x in (x0, xt)), torch.tensor([t]))
        assert_allclose(found.item(), mean, rtol=1e-9)
        assert_allclose(LOW[t], -math.log(precision), rtol=1e-9)
    assert LOW[0] == LOW[1]


def test_clean_inverts_noised():
    x0, noise = torch.randn(2, 1000, 2, dtype=torch.float64)
    t = torch.arange(1000)
    assert_close(TRAINING.clean(TRAINING.noised(x0, t, noise), t, noise), x0)


def test_variance_lies_between_beta_and_the_posterior_s():
    t, v = torch.tensor([0, 3, 999]), torch.tensor([-1.0, 1.0, 0.0], dtype=torch.float64)
    expected = [LOW[0], HIGH[3], (LOW[999] + HIGH[999]) / 2]
    assert_allclose(TRAINING.log_variance(v, t), expected)


def test_draws_are_reproducible_and_uniform():
    t, noise = draw((4000, 2, 3, 3), torch.Generator().manual_seed(1))
    again = draw((4000, 2, 3, 3), torch.Generator().manual_seed(1))
    assert torch.equal(t, again[0]) and torch.equal(noise, again[1])
    assert t.min() >= 0 and t.max() <= 999 and abs(t.double().mean() - 499.5) < 20
    assert abs(noise.std() - 1) < 0.01 and noise.shape == (4000, 2, 3, 3)


class Fixed(nn.Module):
    """A network that returns the same, and keeps what it was asked."""

    def __init__(self, config, noise, v):
        super().__init__()
        self.config, self.noise, self.v, self.asked = config, noise, v, None

    def forward(self, image, t, label, count, impl):
        self.asked = image, t, label, count, impl
        return self.noise, self.v


def case(arm, t, seed=0):
    """Configuration, clean images, labels, counts, and two kinds of noise that have zero mean where they must."""
    config = small_config(arm)
    image = images_of(molecules(), config).double()
    noise, _, label, count = noisy_batch(config, seed=seed)
    other = noisy_batch(config, seed=seed + 1)[0]
    mask = generated(count, config).expand_as(image)
    return config, image, label, count, torch.full((len(image),), t), noise * mask, other * mask, mask


@pytest.mark.parametrize("arm", ["dtm", "dtm-code"])
@pytest.mark.parametrize("t", [0, 1, 400, 999])
def test_loss_by_hand(arm, t):
    config, image, label, count, times, noise, other, mask = case(arm, t)
    v = torch.randn(image.shape, dtype=torch.float64)
    if config.t0_term == "pixel":
        other = noise + 0.2 * (other - noise)  # the tanh of the released likelihood is no good for far tails
    network = Fixed(config, other, v)
    found = loss(network, image, label, count, times, noise, impl="reference")
    bar = TRAINING.alpha_bar
    xt = math.sqrt(bar[t]) * image + math.sqrt(1 - bar[t]) * noise
    assert_close(network.asked[0], torch.where(mask, xt, image))
    assert network.asked[1:] == (times, label, count, "reference")
    log_variance = (1 + v) / 2 * HIGH[t] + (1 - v) / 2 * LOW[t]
    previous = bar[t - 1] if t else 1.0
    # Means of the two steps differ by the noise alone.
    difference = TRAINING.betas[t] * math.sqrt(previous) / (1 - bar[t]) * math.sqrt(1 / bar[t] - 1) * (noise - other)
    if t:
        ratio = LOW[t] - log_variance
        bound = (ratio.exp() - 1 - ratio + difference.square() / log_variance.exp()) / 2
    elif config.t0_term == "gaussian":
        log_variance = log_variance.clamp(min=LOW[0])
        bound = (difference.square() / log_variance.exp() + log_variance + math.log(2 * math.pi)) / 2
    else:
        mean, sigma, cut = image + difference, (log_variance / 2).exp(), 0.999
        upper, lower = (torch.special.ndtr((image + e / 255 - mean) / sigma) for e in (1, -1))
        likely = torch.where(image < -cut, upper, torch.where(image > cut, 1 - lower, upper - lower))
        bound = -likely.clamp(min=1e-12).log()
    expected = ((noise - other).square() + bound / math.log(2)) * mask
    expected = expected.sum((1, 2, 3)) / mask.sum((1, 2, 3))
    # The released likelihood takes the normal distribution by a formula that is good to 3 digits.
    assert_close(found, expected, rtol=2e-3 if (arm, t) == ("dtm-code", 0) else 1e-6, atol=1e-9)


def test_the_true_noise_and_variance_cost_nothing():
    config, image, label, count, times, noise, _, _ = case("dtm", 300)
    found = loss(Fixed(config, noise, torch.full_like(noise, -1.0)), image, label, count, times, noise)
    assert found.abs().max() < 1e-9


def test_noise_that_is_given_in_padding_or_with_a_mean_is_ignored():
    config, image, label, count, times, noise, other, mask = case("dtm", 300)
    network = Fixed(config, other, torch.zeros_like(other))
    atoms = atom_rows(count, config.rows)[:, :, None]
    loud = torch.where(mask, noise, 50.0)
    loud[:, 0] += 3.0 * atoms
    assert_close(loss(network, image, label, count, times, loud), loss(network, image, label, count, times, noise))


def test_the_bound_trains_the_variance_alone():
    config, image, label, count, times, noise, other, mask = case("dtm", 300)
    predicted, v = other.clone().requires_grad_(), torch.zeros_like(other).requires_grad_()
    loss(Fixed(config, predicted, v), image, label, count, times, noise).sum().backward()
    numbers = mask.sum((1, 2, 3), keepdim=True)
    assert_close(predicted.grad, 2 * (other - noise) * mask / numbers)
    assert v.grad[mask].abs().min() > 0 and not v.grad[~mask].any()


@pytest.mark.parametrize("arm", ARMS)
def test_every_parameter_learns(arm):
    model = small_network(arm)
    image = images_of(molecules(), model.config).double()
    count = torch.tensor([len(m.elements) for m in molecules()])
    t, noise = draw(image.shape, torch.Generator().manual_seed(0))
    loss(model, image, torch.arange(len(t)) % 3, count, t, noise.double()).sum().backward()
    idle = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert idle == ({"ring.query"} if arm == "code" else set())


@pytest.mark.parametrize("arm", ["dtm", "so3-e"])
def test_the_gradient_is_that_of_the_loss(arm):
    """Central differences along a random direction of all weights."""
    model = small_network(arm)
    image = images_of(molecules(), model.config).double()
    count, (t, noise) = torch.tensor([len(m.elements) for m in molecules()]), draw(image.shape, torch.Generator())

    def squared():
        # The bound is left out: its estimate of the noise is detached.
        predicted, _ = model(image + noise.double(), t, torch.zeros_like(t), count)
        return (predicted - noise).square().mean()

    parameters = list(model.parameters())
    directions = [torch.randn_like(p) for p in parameters]
    slope = sum(
        (g * d).sum()
        for g, d in zip(torch.autograd.grad(squared(), parameters, allow_unused=True), directions)
        if g is not None
    )  # noqa: E501
    values = []
    with torch.no_grad():
        for step in (1e-5, -2e-5):
            for parameter, direction in zip(parameters, directions):
                parameter += step * direction
            values.append(squared())
    assert_close((values[0] - values[1]) / 2e-5, slope, rtol=1e-5, atol=0)
