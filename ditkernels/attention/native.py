"""What the launchers of the native CPU kernels share."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from ditkernels import _native

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

Named = Mapping[str, Tensor | None]
"""The tensors of a form by name."""


def unsupported(form: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """None if these kernels can run the form, else the reason and the remedy."""
    if not _native.available:
        return _native.reason
    if device.type != "cpu":
        return f"the tensors are on {device.type}, these kernels need the CPU; move the tensors or choose another impl"
    if dtype not in DTYPES:
        return f"dtype {dtype} has no kernels; use float32, float64, bfloat16 or float16"
    return None


def widen(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def computed(named: Named, per_pair: Collection[str]) -> dict[str, Tensor | None]:
    """Tensors as the kernels take them: rows of pairs as stored, everything else in the dtype of the arithmetic."""
    return {name: x if x is None or name in per_pair else widen(x) for name, x in named.items()}


def has_padding(q: Tensor, lengths: Tensor) -> bool:
    """Whether some token belongs to no molecule, so that the kernels leave rows of the results as they were."""
    return int(lengths.sum()) != q.shape[0]


def num_pairs(named: Named, per_pair: Collection[str], mask: Tensor | None, bias: Tensor | None) -> int:
    """P, or -1 if there is no tensor of pairs."""
    rows = (x for x in (*map(named.get, per_pair), mask, bias) if x is not None)
    return next((x.shape[0] for x in rows), -1)
