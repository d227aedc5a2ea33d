"""A multiplicative cutoff enters attention as its logarithm: softmax weights proportional to cutoff * exp(logit)."""

from __future__ import annotations

import torch
from torch import Tensor

from ditkernels.attention import checks


def check(cutoff: Tensor | None, query: Tensor, padded: bool, sizes: checks.Sizes) -> None:
    """cutoff: (P,) or (B, N, N), the dtype of query or float32."""
    if cutoff is None:
        return
    checks.has_shape("cutoff", cutoff, ("P",), padded, sizes)
    checks.has_dtype("cutoff", cutoff, (query.dtype, torch.float32), "the dtype of query, or float32")
    checks.on_device("cutoff", cutoff, query)


def apply(
    cutoff: Tensor | None, mask: Tensor | None, bias: Tensor | None, heads: int
) -> tuple[Tensor | None, Tensor | None]:
    """The mask and bias that do what a cutoff >= 0 does, besides those given.

    A pair whose cutoff is not positive is forbidden, and nothing flows to that cutoff: smooth ones have slope 0 there.
    """
    if cutoff is None:
        return mask, bias
    inside = cutoff > 0
    logarithm = torch.where(inside, cutoff, 1.0).log().unsqueeze(-1).expand(*cutoff.shape, heads)
    mask = inside if mask is None else mask & inside
    return mask.contiguous(), (logarithm if bias is None else bias + logarithm).contiguous()
