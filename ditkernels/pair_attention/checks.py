"""Argument checks of pair attention: every mistake is one ValueError that names the argument and says what was
expected.

Values of tensors are read only where that costs nothing: on the CPU, outside of graph capture and vmap. ``check=True``
reads them elsewhere.
"""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from ditkernels.layout import Layout
from ditkernels.pair_attention.descriptors import FORMS, PairDescriptor, PairTensor, tensors
from ditkernels.pair_attention.impl import BACKENDS

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INDEX_DTYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)
OFFSET_DTYPES = (torch.int32, torch.int64)
AUTOCAST_DEVICES = ("cpu", "cuda")


def arguments(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pair: PairDescriptor,
    cu_seqlens: Tensor | None,
    lengths: Tensor | None,
    mask: Tensor | None,
    bias: Tensor | None,
    impl: str,
) -> None:
    """Types, shapes, dtypes, devices and strides of all arguments; reads no tensor values."""
    if impl not in ("auto", "reference", *BACKENDS):
        raise ValueError(
            f"impl must be 'auto', 'reference' or a back-end ({', '.join(BACKENDS) or 'none here'}), got {impl!r}"
        )
    _is_tensor("query", query)
    if query.dim() not in (3, 4):
        raise ValueError(f"query must have shape (T, H, D) or (B, N, H, D), got {_shape(query)}")
    if query.shape[-1] == 0 or query.shape[-2] == 0:
        raise ValueError(f"query must have at least one head and one channel per head, got {_shape(query)}")
    if query.dtype not in DTYPES:
        raise ValueError(f"query must be float16, bfloat16, float32 or float64, got {_dtype(query.dtype)}")
    for name, x in (("key", key), ("value", value)):
        _is_tensor(name, x)
        if x.shape != query.shape:
            raise ValueError(f"{name} must have the shape of query, {_shape(query)}, got {_shape(x)}")
        _has_dtype(name, x, (query.dtype,), "the dtype of query")
        _on_device(name, x, query)

    padded = query.dim() == 4
    if padded and cu_seqlens is not None:
        raise ValueError("cu_seqlens must be None for a padded query (B, N, H, D); give lengths instead")
    if not padded and lengths is not None:
        raise ValueError("lengths must be None for a ragged query (T, H, D); give cu_seqlens instead")
    if not padded and cu_seqlens is None:
        raise ValueError(
            "cu_seqlens must be given for a ragged query (T, H, D): int32 molecule boundaries (B+1,) from 0 to T"
        )
    sizes = {"C": query.shape[-2] * query.shape[-1], "H": query.shape[-2]}
    sizes.update({"B": query.shape[0], "N": query.shape[1]} if padded else {"T": query.shape[0]})
    if padded:
        _offsets("lengths", lengths, query, query.shape[0], "(B,)")
    else:
        _offsets("cu_seqlens", cu_seqlens, query, None, "(B+1,)")

    for field, x in zip(FORMS[_form(pair)], tensors(pair), strict=True):
        _pair_tensor(field, x, query, padded, sizes)
    if pair.form == "displacement" and (pair.index is None) != (pair.table_a is None):
        raise ValueError("index and table_a of DisplacementPair must be given together or not at all")
    if pair.form == "displacement" and pair.index is None and pair.table_b is not None:
        raise ValueError("table_b of DisplacementPair must be None where index and table_a are None")
    if mask is not None:
        _has_shape("mask", mask, ("P",), padded, sizes)
        _has_dtype("mask", mask, (torch.bool,), "True = allowed")
        _on_device("mask", mask, query)
        _is_contiguous("mask", mask)
    if bias is not None:
        _has_shape("bias", bias, ("P", "H"), padded, sizes)
        _has_dtype("bias", bias, (query.dtype, torch.float32), "the dtype of query, or float32")
        _on_device("bias", bias, query)
        _is_contiguous("bias", bias)


def layout(
    query: Tensor,
    pair: PairDescriptor,
    cu_seqlens: Tensor | None,
    lengths: Tensor | None,
    mask: Tensor | None,
    bias: Tensor | None,
    check: bool,
) -> Layout:
    """The layout of checked arguments; compares cu_seqlens, lengths and index with their ranges where it can."""
    per_pair = [x for field, x in zip(FORMS[pair.form], tensors(pair), strict=True) if field.per_pair] + [mask, bias]
    rows = next((x for x in per_pair if x is not None), None)
    if query.dim() == 4:
        batch, size = query.shape[:2]
        if lengths is not None and _readable(lengths, check) and batch > 0:
            if int(lengths.min()) < 0 or int(lengths.max()) > size:
                raise ValueError(
                    f"lengths must lie between 0 and N = {size}, got {int(lengths.min())} ... {int(lengths.max())}"
                )
        result = Layout.padded(batch, size, lengths, query.device)
    else:
        num_pairs = None if rows is None else rows.shape[0]
        if _readable(cu_seqlens, check):
            _cu_seqlens(cu_seqlens.tolist(), query.shape[0], num_pairs)
        result = Layout.ragged(cu_seqlens, query.shape[0], num_pairs)
    index, table = getattr(pair, "index", None), getattr(pair, "table_a", None)
    if check and index is not None and _readable(index, check) and index.numel() > 0:
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= table.shape[0]:
            raise ValueError(
                f"index must lie between 0 and S - 1 = {table.shape[0] - 1} (the rows of table_a), got {low} ... {high}"
            )
    return result


def autocast(
    query: Tensor, key: Tensor, value: Tensor, pair: PairDescriptor
) -> tuple[Tensor, Tensor, Tensor, PairDescriptor]:
    """Under autocast, tokens and pair features in its dtype; geometry, index, mask and bias stay as they are."""
    _is_tensor("query", query)
    device = query.device.type
    if device not in AUTOCAST_DEVICES or not torch.is_autocast_enabled(device):
        return query, key, value, pair
    dtype = torch.get_autocast_dtype(device)
    features = {f.name: cast(getattr(pair, f.name), dtype) for f in FORMS[_form(pair)] if f.kind == "feature"}
    return cast(query, dtype), cast(key, dtype), cast(value, dtype), dataclasses.replace(pair, **features)


def autocast_off(device: torch.device) -> AbstractContextManager:
    """Autocast has done its part: the matrix products inside keep the accumulation dtype."""
    if device.type in AUTOCAST_DEVICES:
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def cast(x: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """x as autocast would convert it: float64 and integers are left alone."""
    return x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() and x.dtype != torch.float64 else x


def _form(pair: PairDescriptor) -> str:
    form = getattr(pair, "form", None)
    if form not in FORMS:
        raise ValueError(
            f"pair must be DensePair, TablePair, ProjectedPair or DisplacementPair, got {type(pair).__name__}"
        )
    return form


def _pair_tensor(field: PairTensor, x: Tensor | None, query: Tensor, padded: bool, sizes: dict[str, int]) -> None:
    if x is None and field.optional:
        return
    _is_tensor(field.name, x)
    _has_shape(field.name, x, field.shape, padded, sizes)
    if field.kind == "index":
        _has_dtype(field.name, x, INDEX_DTYPES, "row numbers of the table")
    elif field.kind == "geometry":
        _has_dtype(
            field.name,
            x,
            (torch.float64 if query.dtype == torch.float64 else torch.float32,),
            f"for {_dtype(query.dtype)} tokens",
        )
    else:
        _has_dtype(field.name, x, (query.dtype,), "the dtype of query")
    _on_device(field.name, x, query)
    if field.per_pair:
        _is_contiguous(field.name, x)


def _has_shape(name: str, x: Tensor, symbols: tuple[str | int, ...], padded: bool, sizes: dict[str, int]) -> None:
    """Compare a shape with its symbols; a symbol met for the first time takes the size found."""
    _is_tensor(name, x)
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
        raise ValueError(f"{name} must have shape ({letters}) = ({known}), got {_shape(x)}")


def _is_tensor(name: str, x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise ValueError(f"{name} must be a tensor, got {type(x).__name__}")


def _has_dtype(name: str, x: Tensor, dtypes: tuple[torch.dtype, ...], meaning: str) -> None:
    if x.dtype not in dtypes:
        expected = " or ".join(_dtype(d) for d in dict.fromkeys(dtypes))
        raise ValueError(f"{name} must be {expected} ({meaning}), got {_dtype(x.dtype)}")


def _on_device(name: str, x: Tensor, query: Tensor) -> None:
    if x.device != query.device:
        raise ValueError(f"{name} must be on the device of query, {query.device}, got {x.device}")


def _is_contiguous(name: str, x: Tensor) -> None:
    if not x.is_contiguous() and not _transformed(x):
        raise ValueError(
            f"{name} must be contiguous (a pair tensor is never copied silently), got strides {tuple(x.stride())}"
        )


def _offsets(name: str, x: Tensor | None, query: Tensor, size: int | None, letters: str) -> None:
    if x is None:
        return
    _is_tensor(name, x)
    if x.dim() != 1 or (x.shape[0] == 0 if size is None else x.shape[0] != size):
        expected = letters if size is None else f"{letters} = ({size},)"
        raise ValueError(f"{name} must have shape {expected}, got {_shape(x)}")
    _has_dtype(name, x, OFFSET_DTYPES, "numbers of tokens")
    _on_device(name, x, query)


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


def _shape(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape)


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
