"""Sizes of the networks, and what a new one returns."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ditkernels.models.d3mes import D3MES
from ditkernels.models.d3mes.config import NAMED
from tests.support.d3mes import ARMS, noisy_batch, small_config


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
def test_a_new_network_returns_zero(arm):
    config = small_config(arm)
    noise, variance = D3MES(config)(*noisy_batch(config, dtype=torch.float32))
    assert noise.shape == variance.shape == (7, config.channels, config.rows, 3)
    assert not noise.any() and not variance.any()
