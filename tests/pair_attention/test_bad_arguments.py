"""Every wrong argument is one ValueError that names it and says what was expected."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ditkernels import DensePair, DisplacementPair, ProjectedPair, TablePair, pair_attention
from tests.pair_attention.cases import make_batch

SIZES, H, D = [2, 3], 2, 3  # T = 5, P = 13, C = 6


def call(batch, **changes):
    """Run a batch with some arguments of pair_attention or of its descriptor replaced."""
    arguments = {"query": batch.query, "key": batch.key, "value": batch.value, "pair": batch.pair}
    arguments |= {"cu_seqlens": batch.cu_seqlens, "impl": "reference"}
    own = {name: value for name, value in changes.items() if hasattr(batch.pair, name)}
    rest = {name: value for name, value in changes.items() if name not in own}
    return pair_attention(**(arguments | {"pair": replace(batch.pair, **own)} | rest))


def zeros(*shape, dtype=torch.float64):
    return torch.zeros(shape, dtype=dtype)


def ints(*values, dtype=torch.int32):
    return torch.tensor(values, dtype=dtype)


# (variant, changed arguments, words of the message)
CASES = [
    ("dense", {"query": None}, "query must be a tensor"),
    ("dense", {"query": zeros(5, 6)}, r"query must have shape \(T, H, D\) or \(B, N, H, D\), got \(5, 6\)"),
    ("dense", {"query": zeros(5, 2, 3, dtype=torch.int64)}, "query must be float16, bfloat16, float32 or float64"),
    ("dense", {"query": zeros(5, 2, 0)}, "query must have at least one head and one channel"),
    ("dense", {"key": zeros(4, 2, 3)}, r"key must have the shape of query, \(5, 2, 3\), got \(4, 2, 3\)"),
    ("dense", {"value": zeros(5, 3, 2)}, "value must have the shape of query"),
    ("dense", {"value": None}, "value must be a tensor"),
    ("dense", {"key": zeros(5, 2, 3, dtype=torch.float32)}, "key must be float64"),
    ("dense", {"key": torch.zeros(5, 2, 3, dtype=torch.float64, device="meta")}, "key must be on the device of query"),
    ("dense", {"pair": torch.zeros(13, 6)}, "pair must be DensePair, TablePair, ProjectedPair or DisplacementPair"),
    ("dense", {"impl": "fast"}, "impl must be 'auto', 'reference' or a back-end"),
    ("dense", {"cu_seqlens": None}, "cu_seqlens must be given for a ragged query"),
    ("dense", {"lengths": ints(2, 3)}, "lengths must be None for a ragged query"),
    ("dense", {"cu_seqlens": [0, 2, 5]}, "cu_seqlens must be a tensor"),
    ("dense", {"cu_seqlens": zeros(3)}, "cu_seqlens must be int32 or int64"),
    ("dense", {"cu_seqlens": ints(0, 2, 5).reshape(1, 3)}, "cu_seqlens must have shape"),
    ("dense", {"cu_seqlens": ints()}, "cu_seqlens must have shape"),
    ("dense", {"cu_seqlens": ints(0, 3, 2, 5)}, "cu_seqlens must start at 0 and never decrease"),
    ("dense", {"cu_seqlens": ints(1, 3, 5)}, "cu_seqlens must start at 0"),
    ("dense", {"cu_seqlens": ints(0, 2, 4)}, r"cu_seqlens must end at T = 5 \(the rows of query\), got 4"),
    ("dense", {"cu_seqlens": ints(0, 1, 5)}, "pair tensors must have P = 17 rows .* got 13"),
    ("dense", {"cu_seqlens": torch.zeros(3, dtype=torch.int32, device="meta")}, "cu_seqlens must be on the device"),
    ("dense", {"a": None}, "a must be a tensor"),
    ("dense", {"a": zeros(13, 8)}, r"a must have shape \(P, C\) = \(P, 6\), got \(13, 8\)"),
    ("dense", {"a": zeros(13, 2, 3)}, "a must have shape"),
    ("dense", {"b": zeros(12, 6)}, r"b must have shape \(P, C\) = \(13, 6\), got \(12, 6\)"),
    ("dense", {"a": zeros(13, 6, dtype=torch.float32)}, "a must be float64"),
    ("dense", {"a": zeros(6, 13).t()}, "a must be contiguous .* got strides"),
    ("dense", {"b": zeros(1, 6).expand(13, 6)}, "b must be contiguous"),
    ("dense", {"mask": zeros(13)}, "mask must be bool"),
    ("dense", {"mask": zeros(12, dtype=torch.bool)}, r"mask must have shape \(P,\) = \(13,\), got \(12,\)"),
    ("dense", {"mask": zeros(26, dtype=torch.bool)[::2]}, "mask must be contiguous"),
    ("dense", {"bias": zeros(13, 3)}, r"bias must have shape \(P, H\) = \(13, 2\), got \(13, 3\)"),
    ("dense", {"bias": zeros(13, 2, dtype=torch.float16)}, "bias must be float64 or float32"),
    ("dense", {"bias": zeros(2, 13).t()}, "bias must be contiguous"),
    ("table", {"index": zeros(13)}, "index must be uint8 or int16 or int32 or int64"),
    ("table", {"index": zeros(13, 1, dtype=torch.int64)}, "index must have shape"),
    ("table", {"index": zeros(26, dtype=torch.int64)[::2]}, "index must be contiguous"),
    ("table", {"table_a": zeros(5, 7)}, r"table_a must have shape \(S, C\) = \(S, 6\), got \(5, 7\)"),
    ("table", {"table_b": zeros(4, 6)}, r"table_b must have shape \(S, C\) = \(5, 6\), got \(4, 6\)"),
    ("table", {"table_b": zeros(5, 6, dtype=torch.float32)}, "table_b must be float64"),
    ("table", {"index": torch.full((13,), 5), "check": True}, "index must lie between 0 and S - 1 = 4"),
    ("table", {"index": torch.full((13,), -1), "check": True}, "index must lie between 0 and S - 1 = 4"),
    ("projected", {"e": zeros(13, 4)}, r"weight_a must have shape \(E, C\) = \(4, 6\), got \(3, 6\)"),
    ("projected", {"e": zeros(3, 13).t()}, "e must be contiguous"),
    ("projected", {"weight_b": zeros(3, 5)}, "weight_b must have shape"),
    ("displacement", {"positions": zeros(4, 3)}, r"positions must have shape \(T, 3\) = \(5, 3\), got \(4, 3\)"),
    ("displacement", {"positions": zeros(5, 3, dtype=torch.float32)}, "positions must be float64"),
    ("displacement", {"v1": zeros(4, 2)}, r"v1 must have shape \(3, F\)"),
    ("displacement", {"weight_a": zeros(3, 6)}, r"weight_a must have shape \(F, C\) = \(4, 6\), got \(3, 6\)"),
    ("displacement", {"index": zeros(13, dtype=torch.int64)}, "index and table_a of DisplacementPair"),
    ("displacement", {"table_a": zeros(5, 6)}, "index and table_a of DisplacementPair"),
    ("displacement", {"table_b": zeros(5, 6)}, "table_b of DisplacementPair must be None"),
]


@pytest.mark.parametrize(
    ("variant", "changes", "message"), CASES, ids=[f"{c[0]}-{'-'.join(c[1])}-{i}" for i, c in enumerate(CASES)]
)
def test_ragged(variant, changes, message):
    batch = make_batch(variant, SIZES, H, D)
    assert call(batch).shape == (5, H, D)
    with pytest.raises(ValueError, match=message) as error:
        call(batch, **changes)
    assert "\n" not in str(error.value)


PADDED = [
    ({"cu_seqlens": ints(0, 4, 8)}, "cu_seqlens must be None for a padded query"),
    ({"lengths": ints(4, 3, 2)}, r"lengths must have shape \(B,\) = \(2,\), got \(3,\)"),
    ({"lengths": zeros(2)}, "lengths must be int32 or int64"),
    ({"lengths": ints(4, 5)}, "lengths must lie between 0 and N = 4, got 4 ... 5"),
    ({"lengths": ints(-1, 4)}, "lengths must lie between 0 and N = 4"),
    ({"pair": DensePair(zeros(32, 6))}, r"a must have shape \(B, N, N, C\) = \(2, 4, 4, 6\), got \(32, 6\)"),
    ({"pair": DensePair(zeros(2, 4, 5, 6))}, "a must have shape"),
    ({"pair": DensePair(zeros(2, 4, 6, 4).transpose(2, 3))}, "a must be contiguous"),
    ({"pair": TablePair(zeros(2, 16, dtype=torch.int64), zeros(5, 6))}, "index must have shape"),
    ({"pair": ProjectedPair(zeros(2, 4, 8, 3)[:, :, :4], zeros(3, 6))}, "e must be contiguous"),
    ({"pair": DisplacementPair(zeros(8, 3), zeros(3, 4), zeros(4, 6))}, r"positions must have shape \(B, N, 3\)"),
    ({"mask": zeros(2, 4, dtype=torch.bool)}, r"mask must have shape \(B, N, N\) = \(2, 4, 4\)"),
    ({"bias": zeros(2, 4, 4)}, r"bias must have shape \(B, N, N, H\) = \(2, 4, 4, 2\)"),
]


@pytest.mark.parametrize(("changes", "message"), PADDED, ids=[f"{'-'.join(c[0])}-{i}" for i, c in enumerate(PADDED)])
def test_padded(changes, message):
    tokens = dict.fromkeys(("query", "key", "value"), zeros(2, 4, 2, 3))
    arguments = tokens | {"pair": DensePair(zeros(2, 4, 4, 6))}
    assert pair_attention(**arguments).shape == (2, 4, 2, 3)
    with pytest.raises(ValueError, match=message):
        pair_attention(**(arguments | changes))


def test_half_precision_tokens_need_float32_geometry():
    batch = make_batch("displacement", SIZES, H, D, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="positions must be float32 .for bfloat16 tokens., got bfloat16"):
        call(batch, positions=batch.pair.positions.bfloat16())
