"""Every test of DiTMC runs on every back-end and with both embeddings where it asks for them."""

from __future__ import annotations

import pytest
import torch

from ditkernels.pair_attention import available_impls


@pytest.fixture(params=available_impls(torch.device("cpu")))
def impl(request):
    return request.param


@pytest.fixture(params=["ape", "rpe"])
def embedding(request):
    return request.param
