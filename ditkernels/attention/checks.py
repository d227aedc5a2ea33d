"""Argument checks that attention operators share: every mistake is one ValueError that names the argument and says what
was expected.

Values of tensors are read only where that costs nothing: on the CPU, outside of graph capture and vmap. ``check=True``
reads them elsewhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ditkernels.attention.fields import Field
from ditkernels.layout import Layout

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INDEX_DTYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)
OFFSET_DTYPES = (torch.int32, torch.int64)
AUTOCAST_DEVICES = ("cpu", "cuda")

# Sizes of a call by symbol, filled by the first tensor that has the symbol.
Sizes = dict[str, int]


def tokens(name: str, x: Tensor, ragged: str, padded: str, axes: int) -> None:
    """The first token tensor of a call: `axes` axes in a ragged batch, one more in a padded one."""
    is_tensor(name, x)
    if x.dim() not in (axes, axes + 1):
        raise ValueError(f"{name} must have shape {ragged} or {padded}, got {shape(x)}")
    if x.shape[-1] == 0 or x.shape[-2] == 0:
        raise ValueError(f"{name} must have at least one head and one channel per head, got {shape(x)}")
    if x.dtype not in DTYPES:
        raise ValueError(f"{name} must be float16, bfloat16, float32 or float64, got {dtype_name(x.dtype)}")


def batch(
    query: Tensor, padded: bool, cu_seqlens: Tensor | None, lengths: Tensor | None, ragged_shape: str, padded_shape: str
) -> Sizes:
    """The arguments that say where molecules lie. Returns the sizes T, or B and N, beside C and H."""
    if padded and cu_seqlens is not None:
        raise ValueError(f"cu_seqlens must be None for a padded query {padded_shape}; give lengths instead")
    if not padded and lengths is not None:
        raise ValueError(f"lengths must be None for a ragged query {ragged_shape}; give cu_seqlens instead")
    if not padded and cu_seqlens is None:
        raise ValueError(
            f"cu_seqlens must be given for a ragged query {ragged_shape}: int32 molecule boundaries (B+1,) from 0 to T"
        )
    if padded:
        _offsets("lengths", lengths, query, query.shape[0], "(B,)")
    else:
        _offsets("cu_seqlens", cu_seqlens, query, None, "(B+1,)")
    sizes = {"C": query.shape[-2] * query.shape[-1], "H": query.shape[-2]}
    return sizes | ({"B": query.shape[0], "N": query.shape[1]} if padded else {"T": query.shape[0]})


def mask_and_bias(mask: Tensor | None, bias: Tensor | None, query: Tensor, padded: bool, sizes: Sizes) -> None:
    """mask (P,) bool and bias (P, H), or padded; both optional."""
    if mask is not None:
        has_shape("mask", mask, ("P",), padded, sizes)
        has_dtype("mask", mask, (torch.bool,), "True = allowed")
        on_device("mask", mask, query)
        is_contiguous("mask", mask)
    if bias is not None:
        has_shape("bias", bias, ("P", "H"), padded, sizes)
        has_dtype("bias", bias, (query.dtype, torch.float32), "the dtype of query, or float32")
        on_device("bias", bias, query)
        is_contiguous("bias", bias)


def field(field: Field, x: Tensor | None, query: Tensor, padded: bool, sizes: Sizes) -> None:
    """One tensor of a descriptor against its description."""
    if x is None and field.optional:
        return
    is_tensor(field.name, x)
    has_shape(field.name, x, field.shape, padded, sizes)
    if field.kind == "index":
        has_dtype(field.name, x, INDEX_DTYPES, "row numbers of the table")
    elif field.kind == "geometry":
        expected = torch.float64 if query.dtype == torch.float64 else torch.float32
        has_dtype(field.name, x, (expected,), f"for {dtype_name(query.dtype)} tokens")
    else:
        has_dtype(field.name, x, (query.dtype,), "the dtype of query")
    on_device(field.name, x, query)
    if field.per_pair:
        is_contiguous(field.name, x)


def layout(
    query: Tensor,
    padded: bool,
    per_pair: Iterable[Tensor | None],
    cu_seqlens: Tensor | None,
    lengths: Tensor | None,
    check: bool,
) -> Layout:
    """The layout of checked arguments; compares cu_seqlens and lengths with their ranges where it can.

    per_pair: the tensors with one row per pair, or None in their place
    """
    rows = next((x for x in per_pair if x is not None), None)
    if padded:
        batch, size = query.shape[:2]
        if lengths is not None and _readable(lengths, check) and batch > 0:
            if int(lengths.min()) < 0 or int(lengths.max()) > size:
                raise ValueError(
                    f"lengths must lie between 0 and N = {size}, got {int(lengths.min())} ... {int(lengths.max())}"
                )
        return Layout.padded(batch, size, lengths, query.device)
    num_pairs = None if rows is None else rows.shape[0]
    if _readable(cu_seqlens, check):
        _cu_seqlens(cu_seqlens.tolist(), query.shape[0], num_pairs)
    return Layout.ragged(cu_seqlens, query.shape[0], num_pairs)


def index_range(index: Tensor | None, table: Tensor | None, table_name: str) -> None:
    """Every index is a row of the table; waits for the device."""
    if index is None or not _readable(index, True) or index.numel() == 0:
        return
    low, high = int(index.min()), int(index.max())
    if low < 0 or high >= table.shape[0]:
        raise ValueError(
            f"index must lie between 0 and S - 1 = {table.shape[0] - 1} (the rows of {table_name}), "
            f"got {low} ... {high}"
        )


def autocast_features(device: torch.device, descriptor: Any, fields: tuple[Field, ...]) -> Any:
    """A descriptor as autocast on the device wants it: features in its dtype, geometry and index as they are."""
    dtype = autocast_dtype(device)
    if dtype is None:
        return descriptor
    features = {f.name: cast(getattr(descriptor, f.name), dtype) for f in fields if f.kind == "feature"}
    return dataclasses.replace(descriptor, **features)


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The dtype of autocast on the device; None where it is off."""
    if device.type not in AUTOCAST_DEVICES or not torch.is_autocast_enabled(device.type):
        return None
    return torch.get_autocast_dtype(device.type)


def autocast_off(device: torch.device) -> AbstractContextManager:
    """Autocast has done its part: the matrix products inside keep the accumulation dtype."""
    if device.type in AUTOCAST_DEVICES:
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def cast(x: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """x as autocast would convert it: float64 and integers are left alone."""
    return x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() and x.dtype != torch.float64 else x


def has_shape(name: str, x: Tensor, symbols: tuple[str | int, ...], padded: bool, sizes: Sizes) -> None:
    """Compare a shape with its symbols; a symbol met for the first time takes the size found."""
    is_tensor(name, x)
    leading = {"P": ("B", "N", "N"), "T": ("B", "N")} if padded else {}
    symbols = tuple(s for symbol in symbols for s in leading.get(symbol, (symbol,)))
    found = dict(zip(symbols, x.shape, strict=False))
    good = x.dim() == len(symbols) and all(
        size == (symbol if isinstance(symbol, int) else sizes.get(symbol, found[symbol]))
        for symbol, size in zip(symbols, x.shape, strict=True)
    )
    if good:
        sizes.update(found)
    else:
        letters = ", ".join(str(s) for s in symbols) + ("," if len(symbols) == 1 else "")
        known = ", ".join(str(sizes.get(s, s)) for s in symbols) + ("," if len(symbols) == 1 else "")
        raise ValueError(f"{name} must have shape ({letters}) = ({known}), got {shape(x)}")


def is_tensor(name: str, x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} must be a tensor, got {type(x).__name__}")


def has_dtype(name: str, x: Tensor, dtypes: tuple[torch.dtype, ...], meaning: str) -> None:
    if x.dtype not in dtypes:
        expected = " or ".join(dtype_name(d) for d in dict.fromkeys(dtypes))
        raise ValueError(f"{name} must be {expected} ({meaning}), got {dtype_name(x.dtype)}")


def on_device(name: str, x: Tensor, query: Tensor) -> None:
    if x.device != query.device:
        raise ValueError(f"{name} must be on the device of query, {query.device}, got {x.device}")


def is_contiguous(name: str, x: Tensor) -> None:
    if not x.is_contiguous() and not _transformed(x):
        raise ValueError(
            f"{name} must be contiguous (a pair tensor is never copied silently), got strides {tuple(x.stride())}"
        )


def shape(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape)


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _offsets(name: str, x: Tensor | None, query: Tensor, size: int | None, letters: str) -> None:
    if x is None:
        return
    is_tensor(name, x)
    if x.dim() != 1 or (x.shape[0] == 0 if size is None else x.shape[0] != size):
        expected = letters if size is None else f"{letters} = ({size},)"
        raise ValueError(f"{name} must have shape {expected}, got {shape(x)}")
    has_dtype(name, x, OFFSET_DTYPES, "numbers of tokens")
    on_device(name, x, query)


def _cu_seqlens(bounds: list[int], num_tokens: int, num_pairs: int | None) -> None:
    if bounds[0] != 0 or any(low > high for low, high in zip(bounds, bounds[1:], strict=False)):
        raise ValueError("cu_seqlens must start at 0 and never decrease")
    if bounds[-1] != num_tokens:
        raise ValueError(f"cu_seqlens must end at T = {num_tokens} (the rows of query), got {bounds[-1]}")
    expected = sum((high - low) ** 2 for low, high in zip(bounds, bounds[1:], strict=False))
    if num_pairs is not None and num_pairs != expected:
        raise ValueError(
            f"pair tensors must have P = {expected} rows (the sum of the squared molecule sizes), got {num_pairs}"
        )


def _readable(x: Tensor, check: bool) -> bool:
    if torch.compiler.is_compiling() or type(x) is not Tensor or _transformed(x):
        return False
    return x.device.type == "cpu" or (check and x.device.type != "meta")


def _transformed(x: Tensor) -> bool:
    """Inside torch.func.vmap or grad, where a tensor stands for many."""
    return not torch.compiler.is_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(x)
