"""vmap rules of the operators: the mapped axis becomes molecules where that is exact, else a loop over its slices."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ditkernels.attention.fields import Field

TOKENS = ["T"] * 3
LAYOUT = ["molecule", "molecule", "molecule", None]  # offsets, lengths, pair_offsets, pair_stride
MASK_AND_BIAS = ["P", "P"]


def rows(fields: tuple[Field, ...], statics: int) -> list[tuple[list[str | None], list[str]]]:
    """What the rows of each argument and of each result are, for the three operators of a form (forward, backward,
    double backward); `statics` counts the arguments that are no tensors.

    "T" (tokens), "P" (pairs), "molecule" (layout), "shared" (tables, weights) or None (no tensor).
    """
    own = [field.rows for field in fields]
    grads = [*TOKENS, *own, "P"]
    arguments = [*own, *LAYOUT, *MASK_AND_BIAS, *[None] * statics]
    return [
        ([*TOKENS, *arguments, None], ["T", "T"]),
        (["T", *TOKENS, "T", "T", *arguments, None, None], grads),
        ([*grads, "T", *TOKENS, *arguments, None], ["T", *grads]),
    ]


def rule(call: Callable, inputs: list[str | None], outputs: list[str]) -> Callable:
    """The vmap rule of an operator whose arguments and results have the given rows."""
    first_layout = inputs.index("molecule")

    def mapped_call(info, in_dims: tuple[int | None, ...], *args) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        size = info.batch_size
        args = [x.movedim(dim, 0) if isinstance(dim, int) else x for x, dim in zip(args, in_dims, strict=True)]
        mapped = [isinstance(dim, int) for dim in in_dims]  # a list argument has a list here
        if _foldable(args, mapped, inputs, outputs):
            results = call(*_fold(args, mapped, inputs, first_layout, size))
            results = [x.reshape(size, x.shape[0] // size, *x.shape[1:]) for x in results]
        else:
            slices = [
                call(*(x[i].contiguous() if m else x for x, m in zip(args, mapped, strict=True))) for i in range(size)
            ]
            results = [torch.stack(parts) for parts in zip(*slices, strict=True)]
        return tuple(results), (0,) * len(results)

    return mapped_call


def _foldable(args: list, mapped: list[bool], inputs: list[str | None], outputs: list[str]) -> bool:
    """Each molecule keeps its own rows, layout and tables are shared, and no result is a sum over molecules."""
    for x, m, rows in zip(args, mapped, inputs, strict=True):
        if m and rows in ("molecule", "shared"):
            return False
        if isinstance(x, Tensor) and not m and rows == "P":
            return False  # folding would copy a pair tensor for each slice
    return "shared" not in outputs


def _fold(args: list, mapped: list[bool], inputs: list[str | None], first_layout: int, size: int) -> list:
    offsets, lengths, pair_offsets, pair_stride = args[first_layout : first_layout + 4]
    copy = torch.arange(size, device=offsets.device)[:, None]
    tokens = next(x.shape[m] for x, m, rows in zip(args, mapped, inputs, strict=True) if rows == "T" and x is not None)
    pairs = lengths.shape[0] * pair_stride**2 if pair_stride else lengths.long().square().sum()
    folded = []
    for x, m, rows in zip(args, mapped, inputs, strict=True):
        if isinstance(x, Tensor) and rows in ("T", "P"):
            x = (x if m else x.expand(size, *x.shape)).flatten(0, 1).contiguous()
        folded.append(x)
    folded[first_layout] = (offsets + copy * tokens).flatten()
    folded[first_layout + 1] = lengths.repeat(size)
    folded[first_layout + 2] = (pair_offsets + copy * pairs).flatten()
    return folded
