"""Sizes of the networks, and what a new one returns."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.testing import assert_close

from ditkernels.models.d3mes import D3MES
from ditkernels.models.d3mes.config import NAMED
from ditkernels.models.d3mes.diffusion import TRAINING
from ditkernels.models.d3mes.guess import FirstGuess
from ditkernels.models.d3mes.masks import centred, generated
from tests.support.d3mes import ARMS, noisy_batch, small_config, small_network


@pytest.mark.parametrize(
    ("rows", "tokens", "parameters"), [(27, 9, 2_166_821), (75, 25, 2_168_357), (108, 36, 2_169_413)]
)
def test_arm_code_has_the_released_size(rows, tokens, parameters):
    """The released program has a table of 1000 classes, and counts its frozen position codes as parameters."""
    model = D3MES(dataclasses.replace(NAMED["d3mes-code"], rows=rows, classes=1000))
    assert model.config.tokens == tokens
    assert sum(p.numel() for p in model.parameters()) + tokens * model.config.width == parameters
    assert sum(p.numel() for p in model.ring.parameters()) == 1391


def test_transformers_of_all_arms_have_the_same_blocks():
    sizes = {
        name: sum(p.numel() for p in D3MES(config).transformer.blocks.parameters()) for name, config in NAMED.items()
    }
    assert set(sizes.values()) == {2_007_936}


@pytest.mark.parametrize("arm", ARMS)
def test_a_new_network_predicts_no_noise(arm):
    config = small_config(arm, prediction="noise")
    noise, variance = D3MES(config)(*noisy_batch(config, dtype=torch.float32))
    assert noise.shape == variance.shape == (7, config.channels, config.rows, 3)
    assert not noise.any() and not variance.any()


def first_guess(config, image, t, count):
    """The guess of the noise where the image is generated, and sqrt(alpha-bar)."""
    bar = torch.from_numpy(TRAINING.alpha_bar)[t]
    mask = generated(count, config)
    return centred(FirstGuess(config)(image, bar, count).noise, mask, config), bar.sqrt().view(-1, 1, 1, 1)


@pytest.mark.parametrize("arm", ["dtm", "so3-p", "so3-e"])
def test_a_new_network_corrects_nothing(arm):
    config = small_config(arm)
    image, t, label, count = noisy_batch(config)
    noise, variance = D3MES(config).double()(image, t, label, count)
    assert_close(noise, first_guess(config, image, t, count)[0])
    assert not variance.any()


@pytest.mark.parametrize("arm", ["dtm", "so3-p", "so3-e"])
def test_the_network_corrects_the_guess(arm):
    """A network of noise with the same weights returns the correction itself."""
    corrects = small_network(arm)
    plain = D3MES(small_config(arm, prediction="noise")).double()
    plain.load_state_dict(corrects.state_dict())
    image, t, label, count = noisy_batch(corrects.config)
    guess, scale = first_guess(corrects.config, image, t, count)
    correction = plain(image, t, label, count)[0]
    assert correction.abs().max() > 0.1
    assert_close(corrects(image, t, label, count)[0], guess + scale * correction)
