"""Kernels run on the GPU if there is one, else in Triton's interpreter on the CPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest
import torch

from tests.support.triton import DEVICE

if importlib.util.find_spec("triton") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def default_device() -> Iterator[None]:
    with torch.device(DEVICE):
        yield
