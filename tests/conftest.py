"""What all tests share: a fixed seed, and Triton's interpreter where there is no GPU."""

from __future__ import annotations

import os

import pytest
import torch

# Triton reads it when it decorates a kernel, so it is said before any kernel is imported.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)
