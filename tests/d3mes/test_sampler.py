"""Ancestral sampling: its formula, its random numbers, guidance and padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from ditkernels.models.d3mes import sample
from ditkernels.models.d3mes.diffusion import TRAINING
from ditkernels.models.d3mes.image import padding
from ditkernels.models.d3mes.masks import atom_rows, centred, generated
from ditkernels.models.d3mes.sampler import MoleculeNoise
from tests.support.d3mes import ARMS, images_of, molecules, small_config, small_network

COUNT = torch.tensor([1, 3, 9, 7])


def noise_of(config, numbers, seed=0):
    return MoleculeNoise(seed, numbers, (config.channels, config.rows, 3))


def drawn(model, numbers, seed=0, **options):
    """Samples with numbers of atoms and labels that belong to the number of the molecule."""
    label = torch.tensor([n % 3 for n in numbers])
    count = COUNT[list(numbers)] if model.config.masked else None
    return sample(model, count, label, noise_of(model.config, numbers, seed), **{"steps": 6} | options)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("arm", ARMS)
def test_a_sample_depends_on_its_number_alone(arm, guidance):
    model = small_network(arm)
    together = drawn(model, range(4), guidance=guidance)
    assert torch.isfinite(together).all()
    assert torch.equal(drawn(model, range(4), guidance=guidance), together)
    for numbers in ([2], [3, 0], [1, 1]):
        assert_close(drawn(model, numbers, guidance=guidance), together[numbers], rtol=1e-9, atol=1e-9)


def test_seeds_and_numbers_give_other_noise():
    config = small_config("dtm")
    first, second = noise_of(config, [0, 1]), noise_of(config, [1, 0], seed=1)
    drawn = torch.stack([*first(0), *first(1), *second(0), *second(1)]).flatten(1)
    assert torch.corrcoef(drawn).fill_diagonal_(0).abs().max() < 0.3


class Oracle(nn.Module):
    """Knows the clean image, and takes the posterior's variance."""

    def __init__(self, config, clean):
        super().__init__()
        self.config, self.clean = config, nn.Parameter(clean)
        self.levels = []

    def forward(self, image, t, label, count, impl):
        self.levels.append(int(t[0]))
        bar = TRAINING.alpha_bar[t[0]]
        return (image - bar**0.5 * self.clean) / (1 - bar) ** 0.5, torch.full_like(image, -1.0)


@pytest.mark.parametrize("steps", [1, 2, 10, 250])
@pytest.mark.parametrize("arm", ["dtm", "dtm-code"])
def test_a_network_that_knows_the_answer_finds_it(arm, steps):
    config, found = small_config(arm), molecules()
    clean = images_of(found, config).double()
    if arm == "dtm-code":
        clean /= 9  # alpha-bar of the last level is small, not 0
    count = torch.tensor([len(m.elements) for m in found])
    oracle = Oracle(config, clean)
    image = sample(oracle, count, torch.zeros(len(found)).long(), noise_of(config, range(len(found))), steps=steps)
    assert_close(image, clean, atol=1e-6, rtol=0)
    assert oracle.levels == TRAINING.respaced(steps).steps[::-1].tolist()


def test_steps_by_hand():
    """Two steps: the start, x_{t-1} = posterior mean + sigma z, and a last step without noise."""
    model = small_network("dtm-code")
    config, chain = model.config, TRAINING.respaced(2)
    noise, label = noise_of(config, [5]), torch.tensor([1])
    x1, z = (noise(n).double() for n in range(2))
    one, zero = torch.tensor([1]), torch.tensor([0])
    with torch.no_grad():
        predicted, v = model(x1, torch.tensor([999]), label)
        mean = chain.posterior_mean(chain.clean(x1, one, predicted), x1, one)
        x0 = mean + (chain.log_variance(v, one) / 2).exp() * z
        expected = chain.clean(x0, zero, model(x0, torch.tensor([0]), label)[0])
    assert_close(sample(model, None, label, noise_of(config, [5]), steps=2), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("arm", ["dtm", "so3-p", "so3-e"])
def test_padding_stays_and_positions_have_zero_mean(arm):
    model = small_network(arm)
    image = drawn(model, range(4))
    mask = generated(COUNT, model.config).expand_as(image)
    assert torch.equal(image[~mask], padding(model.config).double().expand_as(image)[~mask])
    atoms = atom_rows(COUNT, model.config.rows)[:, :, None]
    assert (image[:, 0] * atoms).sum(1).abs().max() < 1e-12
    assert_close(centred(image, mask[..., :1], model.config)[:, 0], image[:, 0], atol=1e-12, rtol=0)


class Asked(nn.Module):
    """Noise 1 with a label, 0 without; the variance weight tells the two apart too."""

    def __init__(self, config):
        super().__init__()
        self.config, self.weight, self.batches = config, nn.Parameter(torch.zeros((), dtype=torch.float64)), []

    def forward(self, image, t, label, count, impl):
        self.batches.append(len(image))
        known = (label != self.config.null_label).double().view(-1, 1, 1, 1).expand_as(image)
        return known, 2 * known - 1


@pytest.mark.parametrize("guidance", [0.0, 1.0, 1.5, 4.0])
def test_guidance_moves_the_noise_away_from_the_null_label(guidance):
    config = small_config("dtm-code")
    model, chain = Asked(config), TRAINING.respaced(2)
    found = sample(model, None, torch.tensor([0]), noise_of(config, [0]), steps=2, guidance=guidance)
    noise, one, zero = noise_of(config, [0]), torch.tensor([1]), torch.tensor([0])
    x1, z = (noise(n).double() for n in range(2))
    eps = torch.full_like(x1, guidance)
    # The variance is that of the label: v = 1, the upper one.
    x0 = chain.posterior_mean(chain.clean(x1, one, eps), x1, one) + chain.betas[1] ** 0.5 * z
    assert_close(found, chain.clean(x0, zero, eps))
    assert model.batches == ([1, 1] if guidance == 1 else [2, 2])


def test_progress_is_told():
    told = []
    drawn(small_network("dtm"), [0], callback=told.append)
    assert told == [1, 2, 3, 4, 5, 6]


def test_bad_arguments_are_named():
    model = small_network("dtm")
    with pytest.raises(ValueError, match="steps must be between 1 and 1000, got 0"):
        drawn(model, [0], steps=0)
    with pytest.raises(ValueError, match="guidance needs a network trained with the null label"):
        drawn(small_network("dtm", label_dropout=0.0), [0], guidance=2.0)
    with pytest.raises(ValueError, match="count"):
        sample(model, None, torch.tensor([0]), noise_of(model.config, [0]), steps=2)


def test_noise_is_standard_normal():
    noise = noise_of(small_config("dtm"), range(200))(0).numpy()
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    assert np.abs(noise.mean(axis=0)).max() < 0.35
