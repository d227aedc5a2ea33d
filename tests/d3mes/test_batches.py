"""Molecules of a batch do not see each other, nor what stands in rows without an atom."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from ditkernels.models.d3mes.diffusion import draw, loss
from ditkernels.models.d3mes.masks import atom_rows
from tests.support.d3mes import ARMS, images_of, molecules, noisy_batch, small_network


@pytest.mark.parametrize("arm", ARMS)
def test_alone_or_in_a_batch(arm):
    model = small_network(arm)
    inputs = noisy_batch(model.config)
    together = model(*inputs)
    for n in range(len(inputs[0])):
        alone = model(*(x[n : n + 1] for x in inputs))
        for found, expected in zip(alone, together):
            assert_close(found, expected[n : n + 1], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("arm", ["dtm", "so3-p", "so3-e"])
def test_rows_without_an_atom_are_not_read(arm):
    model = small_network(arm)
    image, t, label, count = noisy_batch(model.config)
    outside = ~atom_rows(count, model.config.rows)[:, None, :, None].expand_as(image[:, :-1])
    changed = image.clone()
    changed[:, :-1][outside] = 17.0
    for found, expected in zip(model(changed, t, label, count), model(image, t, label, count)):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("arm", ["dtm", "so3-p", "so3-e"])
def test_noise_of_positions_has_zero_mean_and_none_in_padding(arm):
    model = small_network(arm)
    image, t, label, count = noisy_batch(model.config)
    noise, _ = model(image, t, label, count)
    atoms = atom_rows(count, model.config.rows)[:, None, :, None]
    assert not (noise[:, :-1] * ~atoms).any()
    assert noise[:, 0].sum(1).abs().max() < 1e-12
    assert noise[:, 0][count > 1].abs().amax((1, 2)).min() > 1e-3


@pytest.mark.parametrize("arm", ARMS)
def test_a_single_atom_is_finite(arm):
    model = small_network(arm, dtype=torch.float32)
    image = images_of(molecules(["C"]), model.config)
    label, count = torch.tensor([0]), torch.tensor([1])
    for t in (0, 500, 999):
        _, noise = draw(image.shape, torch.Generator().manual_seed(t))
        model.zero_grad()
        found = loss(model, image, label, count, torch.tensor([t]), noise)
        found.sum().backward()
        assert torch.isfinite(found).all()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("arm", ["dtm", "so3-e"])
def test_label_and_time_act(arm):
    model = small_network(arm)
    image, t, label, count = noisy_batch(model.config)
    base = model(image, t, label, count)[0]
    assert (model(image, t, (label + 1) % 3, count)[0] - base).abs().amax((1, 2, 3)).min() > 1e-6
    assert (model(image, (t + 500) % 1000, label, count)[0] - base).abs().amax((1, 2, 3)).min() > 1e-6


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image": torch.zeros(7, 4, 12, 3)}, r"image must have shape \(B, 4, 15, 3\), got \(7, 4, 12, 3\)"),
        ({"t": torch.zeros(1)}, r"t must have shape \(7,\), got \(1,\)"),
        ({"label": torch.zeros(7, 1)}, r"label must have shape \(7,\), got \(7, 1\)"),
        ({"count": None}, r"count must have shape \(7,\), got None"),
    ],
)
def test_wrong_shapes_are_named(change, sentence):
    model = small_network("so3-e")
    inputs = dict(zip(("image", "t", "label", "count"), noisy_batch(model.config)))
    with pytest.raises(ValueError, match=sentence):
        model(**inputs | change)
