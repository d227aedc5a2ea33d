"""Whether the Triton kernels can run, and why not. Imports Triton in no case."""

from __future__ import annotations

import importlib.util
import os

import torch

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
REMEDY = "pip install 'ditkernels[triton]'"


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, on the CPU. It is decided before the first kernel is imported."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def unsupported(form: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """None if these kernels can run the form, else the reason and the remedy."""
    if importlib.util.find_spec("triton") is None:
        return f"Triton is not installed; {REMEDY}"
    if interpreted():
        if device.type != "cpu":
            return f"TRITON_INTERPRET=1 runs kernels on CPU tensors, these are on {device.type}; unset it"
    elif device.type != "cuda":
        return f"the tensors are on {device.type}, these kernels need a GPU; move the tensors or choose another impl"
    if dtype not in DTYPES:
        return f"dtype {dtype} has no kernels; use float32, bfloat16 or float16, or impl='reference'"
    return None
