"""Argument checks of pair attention; each mistake is one ValueError, see :mod:`ditkernels.attention.checks`."""

from __future__ import annotations

from torch import Tensor

from ditkernels.attention import checks, cutoff, selection
from ditkernels.layout import Layout
from ditkernels.pair_attention.descriptors import FORMS, PairDescriptor, tensors
from ditkernels.pair_attention.impl import BACKENDS

RAGGED, PADDED = "(T, H, D)", "(B, N, H, D)"


def arguments(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pair: PairDescriptor,
    cu_seqlens: Tensor | None,
    lengths: Tensor | None,
    mask: Tensor | None,
    bias: Tensor | None,
    weight: Tensor | None,
    impl: str,
) -> None:
    """Types, shapes, dtypes, devices and strides of all arguments; reads no tensor values. weight: the cutoff."""
    selection.known(impl, BACKENDS)
    checks.tokens("query", query, RAGGED, PADDED, axes=3)
    for name, x in (("key", key), ("value", value)):
        checks.is_tensor(name, x)
        if x.shape != query.shape:
            raise ValueError(f"{name} must have the shape of query, {checks.shape(query)}, got {checks.shape(x)}")
        checks.has_dtype(name, x, (query.dtype,), "the dtype of query")
        checks.on_device(name, x, query)
    padded = query.dim() == 4
    sizes = checks.batch(query, padded, cu_seqlens, lengths, RAGGED, PADDED)
    for field, x in zip(FORMS[form(pair)], tensors(pair), strict=True):
        checks.field(field, x, query, padded, sizes)
    if pair.form == "displacement" and (pair.index is None) != (pair.table_a is None):
        raise ValueError("index and table_a of DisplacementPair must be given together or not at all")
    if pair.form == "displacement" and pair.index is None and pair.table_b is not None:
        raise ValueError("table_b of DisplacementPair must be None where index and table_a are None")
    checks.mask_and_bias(mask, bias, query, padded, sizes)
    cutoff.check(weight, query, padded, sizes)


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
    fields = FORMS[pair.form]
    per_pair = [x for field, x in zip(fields, tensors(pair), strict=True) if field.per_pair]
    result = checks.layout(query, query.dim() == 4, [*per_pair, mask, bias], cu_seqlens, lengths, check)
    if check:
        checks.index_range(getattr(pair, "index", None), getattr(pair, "table_a", None), "table_a")
    return result


def form(pair: PairDescriptor) -> str:
    """The form of a descriptor; ValueError where it is none."""
    if not isinstance(pair, PairDescriptor):
        raise ValueError(
            f"pair must be DensePair, TablePair, ProjectedPair or DisplacementPair, got {type(pair).__name__}"
        )
    return pair.form
