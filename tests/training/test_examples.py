"""Training examples are what the spec asks for, and a function of the seed alone."""

from __future__ import annotations

import pytest
import torch

from ditkernels.models.ditmc.config import DiTMCConfig
from ditkernels.models.ditmc.examples import draw_examples
from ditkernels.models.ditmc.geometry import center, kabsch_align, molecule_mean
from ditkernels.models.ditmc.training import open_dataset
from ditkernels.models.training.config import config_from_dict
from ditkernels.models.training.steps import generator_for


@pytest.fixture
def dataset(values):
    return open_dataset(config_from_dict(values))


@pytest.fixture
def molecules(dataset):
    return dataset.collate([3, 0, 25])


def test_the_same_seed_gives_the_same_examples_and_another_seed_others(molecules):
    one, two, other = (draw_examples(molecules, DiTMCConfig(), generator_for(1, seed)) for seed in (5, 5, 6))
    for name in ("x1", "x0", "t", "z"):
        assert torch.equal(getattr(one, name), getattr(two, name))
        assert not torch.equal(getattr(one, name), getattr(other, name))


def test_positions_are_centered_turned_and_aligned(molecules):
    examples = draw_examples(molecules, DiTMCConfig(), generator_for(1))
    graph = examples.graph
    for x in (examples.x1, examples.x0):
        assert molecule_mean(x, graph).abs().max() < 1e-5
    original = center(molecules.positions, graph)
    assert not torch.allclose(examples.x1, original, atol=0.1)
    assert torch.allclose(kabsch_align(examples.x1, original, graph), original, atol=1e-4)
    assert torch.allclose(kabsch_align(examples.x0, examples.x1, graph), examples.x0, atol=1e-4)


def test_harmonic_samples_have_the_covariance_of_the_factors(dataset):
    copies = dataset.collate([3] * 100)
    n = len(copies.factors[0])
    samples = torch.cat([draw_examples(copies, DiTMCConfig(), generator_for(k)).x0.view(100, n, 3) for k in range(20)])
    # The alignment turns a sample and keeps its shape: compare the mean squared distance of every atom to the center.
    expected = 3 * torch.tensor(copies.factors[0]).square().sum(1)
    assert torch.allclose(samples.square().sum(2).mean(0), expected, rtol=0.15)


def test_times_are_uniform_or_late(dataset):
    copies = dataset.collate([0] * 2000)
    uniform = draw_examples(copies, DiTMCConfig(), generator_for(0)).t
    late = draw_examples(copies, DiTMCConfig(), generator_for(0), time_sampling="late").t
    assert abs(uniform.mean() - 0.5) < 0.03 and abs(late.mean() - (0.98 * 1.9 / 2.9 + 0.01)) < 0.03
    assert ((uniform > 0) & (uniform < 1) & (late > 0) & (late < 1)).all()


def test_coins_fall_as_often_as_configured(molecules):
    model = DiTMCConfig(self_conditioning=True, guidance_dropout=0.1)
    draws = [draw_examples(molecules, model, generator_for(k)) for k in range(300)]
    assert 0.05 < sum(d.condition_gate == 0 for d in draws) / 300 < 0.15
    assert 0.4 < sum(d.self_condition for d in draws) / 300 < 0.6
