"""The sampler integrates the flow."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from ditkernels.models.ditmc import sample
from ditkernels.models.ditmc.geometry import center
from ditkernels.models.ditmc.sampler import time_grid
from tests.support.networks import batch_of, small_network

SMILES = ("CCO", "CC(=O)N")


def start(batch, seed=0):
    return center(
        torch.randn(batch.num_atoms, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), batch
    )


class KnownFlow:
    """Stands in for a network: x1 such that dx/dt = rate(t) x, with solution x0 exp(integral of the rate)."""

    def __init__(self, batch):
        self.batch = batch
        self.config = small_network().config

    def encode(self, graph):
        from ditkernels.models.ditmc import Conditioning

        return Conditioning(graph, torch.empty(0), None)

    def denoise(self, x, t, conditioning, **options):
        time = t[self.batch.molecule].unsqueeze(1)
        return x + (1 - time) * torch.cos(3 * time) * x


def error(batch, steps, method):
    x0 = start(batch)
    exact = x0 * math.exp(math.sin(3) / 3)
    return float((sample(KnownFlow(batch), batch, x0, steps=steps, method=method) - exact).abs().max())


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2)])
def test_order_of_convergence(method, order):
    batch = batch_of(*SMILES)
    measured = math.log2(error(batch, 40, method) / error(batch, 80, method))
    assert order - 0.25 < measured < order + 0.6


@pytest.mark.parametrize("grid", ["uniform", "log"])
def test_grid_runs_from_0_to_1(grid):
    times = time_grid(20, grid)
    assert times[0] == 0 and times[-1] == 1 and len(times) == 21
    steps = [b - a for a, b in zip(times[:-1], times[1:], strict=True)]
    assert min(steps) > 0
    assert (steps[0] > 5 * steps[-1]) == (grid == "log")


def test_last_euler_step_lands_on_the_estimate(embedding, impl):
    model, batch = small_network(embedding), batch_of(*SMILES)
    x0 = start(batch)
    one = sample(model, batch, x0, steps=1, impl=impl)
    assert_close(one, model(x0, torch.zeros(2, dtype=torch.float64), batch, impl=impl))


def test_same_start_same_result_bit_for_bit(embedding, impl):
    model, batch = small_network(embedding, dtype=torch.float32), batch_of(*SMILES)
    x0 = start(batch).float()
    runs = [sample(model, batch, x0, steps=5, impl=impl) for _ in range(3)]
    assert torch.equal(runs[0], runs[1]) and torch.equal(runs[0], runs[2])


def test_guidance_extrapolates_the_estimate():
    model, batch = small_network(), batch_of(*SMILES)
    x0, t = start(batch), torch.zeros(2, dtype=torch.float64)
    conditioned, free = (model(x0, t, batch, condition_gate=gate) for gate in (1.0, 0.0))
    assert_close(sample(model, batch, x0, steps=1, guidance=1.0), conditioned)
    assert_close(sample(model, batch, x0, steps=1, guidance=2.5), free + 2.5 * (conditioned - free))


def test_self_conditioning_uses_the_previous_step():
    model, batch = small_network(self_conditioning=True), batch_of(*SMILES)
    x = x0 = start(batch)
    previous = None
    for n in range(3):
        x1 = model(x, torch.full((2,), n / 3, dtype=torch.float64), batch, x1_previous=previous)
        x, previous = x + (x1 - x) / (1 - n / 3) / 3, x1
    assert_close(sample(model, batch, x0, steps=3), x)


def test_progress_is_reported():
    seen = []
    batch = batch_of("CCO")
    sample(small_network(), batch, start(batch), steps=4, callback=lambda step, steps: seen.append((step, steps)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"method": "rk4"}, "method must be"),
        ({"grid": "cosine"}, "grid must be"),
    ],
)
def test_bad_options_are_named(options, message):
    batch = batch_of("CCO")
    with pytest.raises(ValueError, match=message):
        sample(small_network(), batch, start(batch), **options)
