"""Tensors of a padded batch as the flat layout of :mod:`ditkernels.layout` holds them."""

from __future__ import annotations

from torch import Tensor


def flat(x: Tensor | None, rows: str, padded: bool) -> Tensor | None:
    """x with one leading axis for tokens (rows "T") or pairs ("P"), contiguous.

    Pair tensors are contiguous by the checks, so theirs is always a view.
    """
    if x is None:
        return None
    if padded and rows in ("T", "P"):
        x = x.flatten(0, 1 if rows == "T" else 2)
    return x if rows == "P" else x.contiguous()
