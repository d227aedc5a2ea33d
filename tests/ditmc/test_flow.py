"""The interpolant and the loss, against their formulas."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from ditkernels.models.ditmc.flow import flow_matching_loss, interpolate, training_pair
from ditkernels.models.ditmc.geometry import center, random_rotations
from tests.support.networks import batch_of, small_network


def draw(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x1, x0, z = (torch.randn(batch.num_atoms, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    return (
        center(x1, batch),
        center(x0, batch),
        z,
        torch.rand(batch.num_molecules, generator=generator, dtype=torch.float64),
    )


def test_training_pair_is_centered_and_aligned():
    batch = batch_of("CCO", "CC(N)=O")
    x1, x0, *_ = draw(batch)
    rotations = random_rotations(2, torch.Generator().manual_seed(1), dtype=torch.float64)
    turned, aligned = training_pair(x1 + 5, x0 - 2, rotations, batch)
    assert_close(torch.cdist(turned[:9], turned[:9]), torch.cdist(x1[:9], x1[:9]))
    assert_close(center(aligned, batch), aligned)
    assert (aligned - turned).square().sum() <= (x0 - turned).square().sum()


def test_interpolant_ends_at_the_pair():
    batch = batch_of("CCO", "C")
    x1, x0, z, _ = draw(batch)
    for t, end in ((0.0, x0), (1.0, x1)):
        time = torch.full((2,), t, dtype=torch.float64)
        assert_close(interpolate(x0, x1, time, z, batch, 0.0), end)
        assert_close(interpolate(x0, x1, time, z, batch, 0.5) - end, 0.5 * center(z, batch))


@pytest.mark.parametrize("t", [0.0, 0.5, 0.9, 0.99])
def test_x1_loss_is_the_weighted_squared_error(t, impl):
    batch, model = batch_of("CCO", "C"), small_network()
    x1, x0, z, _ = draw(batch)
    time = torch.full((2,), t, dtype=torch.float64)
    estimate = model(interpolate(x0, x1, time, z, batch, 0.5), time, batch, impl=impl)
    per_molecule = [(estimate - x1).square()[batch.molecule == b].mean() for b in range(2)]
    expected = sum(per_molecule) / 2 / (1 - min(t, 0.9)) ** 2
    assert_close(flow_matching_loss(model, batch, x1, x0, time, z, impl=impl), expected)


def test_velocity_loss_is_the_squared_error_of_the_velocity():
    batch, model = batch_of("CCO", "C"), small_network(target="velocity")
    x1, x0, z, t = draw(batch)
    time = t[batch.molecule].unsqueeze(1)
    z = center(z, batch)
    x_t = (1 - time) * x0 + time * x1 + 0.5 * (time * (1 - time)).sqrt() * z
    velocity = center(model.predict(x_t, t, model.encode(batch)), batch)
    target = x1 - x0 + 0.5 * (1 - 2 * time) / (2 * (time * (1 - time)).sqrt()) * z
    error = (velocity - target).square()
    expected = torch.stack([error[batch.molecule == b].mean() for b in range(2)]).mean()
    assert_close(flow_matching_loss(model, batch, x1, x0, t, z), expected)


def test_self_conditioning_feeds_the_first_estimate_back_without_gradient():
    batch, model = batch_of("CCO"), small_network(self_conditioning=True)
    x1, x0, z, t = draw(batch)
    x_t = interpolate(x0, x1, t, z, batch, 0.5)
    first = model(x_t, t, batch).detach()
    weight = (1 - t.clamp(max=0.9)) ** -2
    expected = (weight * (model(x_t, t, batch, x1_previous=first) - x1).square().mean()).sum()
    assert_close(flow_matching_loss(model, batch, x1, x0, t, z, self_condition=True), expected)


def test_dropped_condition_changes_the_loss():
    batch, model = batch_of("CCO"), small_network()
    x1, x0, z, t = draw(batch)
    kept, dropped = (flow_matching_loss(model, batch, x1, x0, t, z, condition_gate=gate) for gate in (1.0, 0.0))
    assert abs(kept - dropped) > 1e-6
