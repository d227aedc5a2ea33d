"""Where the Triton kernels run in tests: on the GPU if there is one, else in Triton's interpreter on the CPU."""

from __future__ import annotations

import dataclasses
import importlib.util
import os

import pytest
import torch
from torch import Tensor

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if importlib.util.find_spec("triton") is not None and os.environ.get("TRITON_INTERPRET") == "1":
    from tests.support.interpreter import guard, quicken

    quicken()
    guard()
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


def on_device(x):
    """A tensor, or a dataclass with tensors in it, on the device of the kernels."""
    if isinstance(x, Tensor):
        return x.to(DEVICE)
    if dataclasses.is_dataclass(x):
        return dataclasses.replace(x, **{f.name: on_device(getattr(x, f.name)) for f in dataclasses.fields(x)})
    return x
