r"""Gaussian diffusion with learned variance (arXiv 2006.11239, 2102.09672; as in DiT, arXiv 2212.09748).

    x_t = \sqrt{\bar\alpha_t} x_0 + \sqrt{1 - \bar\alpha_t} \epsilon, \qquad \beta_t \text{ linear from } 10^{-4}
    \text{ to } 0.02, \qquad \log\sigma_t^2 = w \log\beta_t + (1 - w) \log\tilde\beta_t, \quad w = (v + 1) / 2

Tables are float64 and rounded once, when they meet a tensor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ditkernels.models.d3mes.masks import centred, generated

TIMESTEPS = 1000
BETAS = (1e-4, 0.02)
PIXEL_BIN = 1 / 255
"""Half the width of a bin of the released likelihood, made for images in [-1, 1] of 256 grey levels."""
PIXEL_EDGE = 0.999


@dataclass(frozen=True)
class Diffusion:
    """A chain of S noise levels.

    betas: (S,) float64. steps: (S,) int64, the number that the network knows each level by.
    """

    betas: np.ndarray
    steps: np.ndarray

    @classmethod
    def linear(cls) -> Diffusion:
        """The chain of training: 1000 levels."""
        return cls(np.linspace(*BETAS, TIMESTEPS, dtype=np.float64), np.arange(TIMESTEPS))

    def respaced(self, count: int) -> Diffusion:
        """``count`` levels spread over this chain, first and last included; betas follow from alpha-bar.

        Raises ValueError unless 1 <= count <= number of levels.
        """
        if not 1 <= count <= len(self.betas):
            raise ValueError(f"steps must be between 1 and {len(self.betas)}, got {count}")
        stride = (len(self.betas) - 1) / max(count - 1, 1)
        # A chain of one level is the noisiest one.
        kept = np.rint(np.arange(count) * stride).astype(np.int64) if count > 1 else np.array([len(self.betas) - 1])
        kept_bar = self.alpha_bar[kept]
        return Diffusion(1 - kept_bar / np.concatenate([[1.0], kept_bar[:-1]]), self.steps[kept])

    @property
    def alpha_bar(self) -> np.ndarray:
        return np.cumprod(1 - self.betas)

    @property
    def _previous(self) -> np.ndarray:
        return np.concatenate([[1.0], self.alpha_bar[:-1]])

    @property
    def log_posterior_variance(self) -> np.ndarray:
        """log of beta~_t = beta_t (1 - alpha-bar_{t-1}) / (1 - alpha-bar_t); at t = 0, where it is 0, that of t = 1."""
        variance = self.betas * (1 - self._previous) / (1 - self.alpha_bar)
        if len(variance) == 1:
            return np.log(self.betas)
        return np.log(np.concatenate([variance[1:2], variance[1:]]))

    def noised(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t from x_0 and noise (B, ...), t (B,)."""
        bar = self.alpha_bar
        return _at(np.sqrt(bar), t, x0) * x0 + _at(np.sqrt(1 - bar), t, x0) * noise

    def clean(self, xt: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The x_0 that x_t and noise belong to."""
        bar = self.alpha_bar
        return _at(np.sqrt(1 / bar), t, xt) * xt - _at(np.sqrt(1 / bar - 1), t, xt) * noise

    def posterior_mean(self, x0: Tensor, xt: Tensor, t: Tensor) -> Tensor:
        """Mean of q(x_{t-1} | x_t, x_0)."""
        bar, previous = self.alpha_bar, self._previous
        of_x0 = self.betas * np.sqrt(previous) / (1 - bar)
        of_xt = (1 - previous) * np.sqrt(1 - self.betas) / (1 - bar)
        return _at(of_x0, t, x0) * x0 + _at(of_xt, t, x0) * xt

    def log_variance(self, v: Tensor, t: Tensor) -> Tensor:
        """log sigma_t^2 between log beta~_t (v = -1) and log beta_t (v = 1), not clamped."""
        low, high = _at(self.log_posterior_variance, t, v), _at(np.log(self.betas), t, v)
        return low + (v + 1) / 2 * (high - low)


TRAINING = Diffusion.linear()


def loss(
    model: nn.Module,
    image: Tensor,
    label: Tensor,
    count: Tensor | None,
    t: Tensor,
    noise: Tensor,
    impl: str = "auto",
) -> Tensor:
    r"""Loss of every item (B,): :math:`\mathrm{mean}(\epsilon - \hat\epsilon)^2 + L_{vb}`, in bits per number.

    :math:`L_{vb}` is the Kullback-Leibler divergence of the true posterior from the model's step, for t = 0 the
    negative log-likelihood of x_0; it trains the variance alone, as :math:`\hat\epsilon` is detached in it
    (arXiv 2102.09672). Means are over the numbers that are generated, see :mod:`ditkernels.models.d3mes.masks`.

    image: clean (B, C, I, 3); label, count, t: (B,); noise: like image.
    """
    config = model.config
    mask = generated(count, config).to(image.device)
    noise = centred(noise, mask, config)
    noisy = torch.where(mask, TRAINING.noised(image, t, noise), image)
    predicted, v = model(noisy, t, label, count, impl=impl)
    squared = (noise - predicted).square()
    # float32 from here on: the bound is a difference of nearly equal numbers.
    noisy, image, v, fixed = (
        x.float() if x.dtype != torch.float64 else x for x in (noisy, image, v, predicted.detach())
    )
    mean = TRAINING.posterior_mean(TRAINING.clean(noisy, t, fixed), noisy, t)
    log_variance = TRAINING.log_variance(v, t)
    true_mean = TRAINING.posterior_mean(image, noisy, t)
    true_log_variance = _at(TRAINING.log_posterior_variance, t, image)
    divergence = _divergence(true_mean, true_log_variance, mean, log_variance)
    zeroth = (_gaussian_nll if config.t0_term == "gaussian" else _pixel_nll)(image, mean, log_variance)
    first = (t == 0).view(-1, *[1] * (image.dim() - 1))
    bound = torch.where(first, zeroth, divergence) / math.log(2.0)
    return _mean(squared.to(bound.dtype), mask) + _mean(bound, mask)


def draw(shape: torch.Size | tuple[int, ...], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Uniform steps t (B,) and noise of the given shape (B, ...), on the CPU."""
    t = torch.randint(TIMESTEPS, (shape[0],), generator=generator)
    return t, torch.randn(shape, generator=generator)


def _at(table: np.ndarray, t: Tensor, like: Tensor) -> Tensor:
    """Entries of a table at t (B,), to be multiplied with a tensor (B, ...)."""
    values = torch.from_numpy(table).to(like.device)[t].to(like.dtype)
    return values.view(-1, *[1] * (like.dim() - 1))


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over all but the first axis, where the mask is."""
    mask = mask.expand_as(values)
    return (values * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)


def _divergence(mean1: Tensor, log_variance1: Tensor, mean2: Tensor, log_variance2: Tensor) -> Tensor:
    """KL divergence of N(mean1, .) from N(mean2, .) in nats, elementwise."""
    ratio = log_variance1 - log_variance2
    return 0.5 * (ratio.exp() - 1 - ratio + (mean1 - mean2).square() * (-log_variance2).exp())


def _gaussian_nll(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """-log N(x; mean, sigma^2) in nats; sigma^2 at least that of the posterior of step 1, so that it is bounded."""
    floored = log_variance.clamp(min=float(TRAINING.log_posterior_variance[0]))
    return 0.5 * (math.log(2 * math.pi) + floored + (x - mean).square() * (-floored).exp())


def _pixel_nll(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """The released likelihood of a grey level: the normal distribution over a bin of 2/255, tails beyond 0.999."""
    inverse = (-0.5 * log_variance).exp()
    upper, lower = (_normal_cdf(inverse * (x - mean + shift)) for shift in (PIXEL_BIN, -PIXEL_BIN))
    tiny = 1e-12
    inner = (upper - lower).clamp(min=tiny).log()
    log_likelihood = torch.where(x < -PIXEL_EDGE, upper.clamp(min=tiny).log(), inner)
    return -torch.where(x > PIXEL_EDGE, (1 - lower).clamp(min=tiny).log(), log_likelihood)


def _normal_cdf(x: Tensor) -> Tensor:
    """The approximation by tanh that the released program uses."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x.pow(3))))
