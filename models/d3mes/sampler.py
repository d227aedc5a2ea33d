"""Ancestral sampling of images with guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ditkernels.models.d3mes.diffusion import TRAINING
from ditkernels.models.d3mes.image import padding
from ditkernels.models.d3mes.masks import centred, generated
from ditkernels.models.d3mes.model import D3MES

STEPS = 250

Noise = Callable[[int], Tensor]
"""Step number 0, 1, ... to noise (B, C, I, 3), asked for in order: first the start, then one for every step."""


class MoleculeNoise:
    """Noise in which every molecule has its own stream of random numbers, whatever else is in the batch.

    seed: of the run. numbers: of the molecules in the run. shape: of one image.
    """

    def __init__(self, seed: int, numbers: Sequence[int], shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.generators = [torch.Generator().manual_seed(_seed(seed, number)) for number in numbers]

    def __call__(self, step: int) -> Tensor:
        noise = torch.empty(len(self.generators), *self.shape)
        for row, generator in zip(noise, self.generators, strict=True):
            torch.randn(self.shape, generator=generator, out=row)
        return noise


@torch.inference_mode()
def sample(
    model: D3MES,
    count: Tensor | None,
    label: Tensor,
    noise: Noise,
    *,
    steps: int = STEPS,
    guidance: float = 1.0,
    impl: str = "auto",
    callback: Callable[[int], None] | None = None,
) -> Tensor:
    """Images (B, C, I, 3) on the device and in the dtype of the model.

    count: (B,) numbers of atoms (layout ``v2``; None for ``code``). label: (B,) class labels, ``null_label`` for none.
    steps: levels of the respaced chain. guidance: s in eps_null + s (eps_label - eps_null), for all channels; the
    variance is that of the label. 1 needs one evaluation per step, everything else two. callback: told the number of
    every finished step.

    Raises ValueError for steps out of range, guidance of a network that was not trained with the null label, or no
    numbers of atoms where they are needed.
    """
    config, weights = model.config, next(model.parameters())
    if config.masked and count is None:
        raise ValueError("count must be given for layout v2")
    if guidance != 1.0 and config.label_dropout == 0:
        raise ValueError("guidance needs a network trained with the null label, this one has label_dropout 0")
    chain = TRAINING.respaced(steps)
    device, dtype = weights.device, weights.dtype
    label, count = label.to(device), None if count is None else count.to(device)
    mask = generated(count, config).to(device)
    rest = padding(config).to(device, dtype)

    def fresh(step: int) -> Tensor:
        return centred(noise(step).to(device, dtype), mask, config)

    image = torch.where(mask, fresh(0), rest)
    for done, level in enumerate(reversed(range(steps))):
        t = torch.full((len(label),), level, device=device)
        asked = torch.full_like(t, int(chain.steps[level]))
        predicted, v = _guided(model, image, asked, label, count, guidance, impl)
        mean = chain.posterior_mean(chain.clean(image, t, predicted), image, t)
        if level > 0:
            mean = mean + (0.5 * chain.log_variance(v, t)).exp() * fresh(done + 1)
        image = torch.where(mask, mean, rest)
        if config.masked:
            # The variances of single numbers (not those of `so3-end`) leave the space of zero mean.
            image = torch.where(mask, centred(image, mask, config), rest)
        if callback is not None:
            callback(done + 1)
    return image


def _guided(
    model: D3MES, image: Tensor, t: Tensor, label: Tensor, count: Tensor | None, guidance: float, impl: str
) -> tuple[Tensor, Tensor]:
    if guidance == 1.0:
        return model(image, t, label, count, impl=impl)
    null = torch.full_like(label, model.config.null_label)
    both_counts = None if count is None else torch.cat((count, count))
    noise, v = model(torch.cat((image, image)), torch.cat((t, t)), torch.cat((label, null)), both_counts, impl=impl)
    (of_label, of_null), v = noise.chunk(2), v.chunk(2)[0]
    return of_null + guidance * (of_label - of_null), v


def _seed(*words: int) -> int:
    state = np.random.SeedSequence(words).generate_state(2, np.uint32)
    return int(state[0]) << 31 ^ int(state[1])
