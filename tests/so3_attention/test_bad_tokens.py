"""Wrong tokens, positions or irreps: one ValueError that names the argument and says what was expected."""

from __future__ import annotations

import pytest
import torch

from ditkernels import so3_attention
from tests.so3_attention.cases import make_batch
from tests.so3_attention.wrong import SIZES, D, H, assert_raises, call, ids, meta, zeros

F32 = torch.float32

# (changed arguments, words of the message)
TOKENS = [
    ({"query": None}, "query must be a tensor"),
    ({"query": zeros(5, 2, 3)}, r"query must have shape \(T, M, H, D\) or \(B, N, M, H, D\), got \(5, 2, 3\)"),
    ({"query": zeros(5, 4, 2, 3, dtype=torch.int64)}, "query must be float16, bfloat16, float32 or float64"),
    ({"query": zeros(5, 4, 2, 0)}, "query must have at least one head and one channel"),
    ({"query": zeros(5, 3, 2, 3)}, r"query must have shape \(5, 4, 2, 3\) \(4 components of irreps_qk\), got"),
    (
        {"key": zeros(4, 4, 2, 3)},
        r"key must have shape \(5, 4, 2, 3\) \(4 components of irreps_qk\), got \(4, 4, 2, 3\)",
    ),
    ({"key": zeros(5, 4, 2, 3, dtype=F32)}, "key must be float64"),
    ({"key": meta(5, 4, 2, 3)}, "key must be on the device of query"),
    ({"value": None}, "value must be a tensor"),
    ({"value": zeros(5, 4, 3, 2)}, r"value must have shape \(5, 4, 2, 3\)"),
    ({"value": zeros(5, 9, 2, 3)}, r"value must have shape \(5, 4, 2, 3\) \(4 components of irreps_v\)"),
    (
        {"irreps_v": "0+ 1- 2+"},
        r"value must have shape \(5, 9, 2, 3\) \(9 components of irreps_v\), got \(5, 4, 2, 3\)",
    ),
    ({"positions": zeros(4, 3)}, r"positions must have shape \(T, 3\) = \(5, 3\), got \(4, 3\)"),
    ({"positions": zeros(5, 2)}, r"positions must have shape \(T, 3\)"),
    ({"positions": zeros(5, 3, dtype=F32)}, "positions must be float64 .for float64 tokens., got float32"),
    ({"positions": meta(5, 3)}, "positions must be on the device of query"),
    ({"positions": None}, "positions must be a tensor"),
]
IRREPS = [
    ({"irreps_qk": "0+ 1x"}, "irreps_qk: .*'1x' is no irrep"),
    ({"irreps_qk": ""}, "irreps_qk: .*empty"),
    ({"irreps_v": "0+ 0+"}, "irreps_v: .*every entry may occur once"),
    ({"irreps_out": "0+ 1"}, "irreps_out: .*parity labels belong on all entries or on none"),
    ({"irreps_out": "3-"}, "irreps_out: .*degrees 0 ... 2 are supported"),
    ({"irreps_out": "0 1"}, "irreps_v and irreps_out must both have parity labels or both not"),
    ({"irreps_qk": None}, "irreps_qk"),
    ({"irreps_qk": 3}, "irreps_qk"),
    ({"irreps_out": "2-"}, "irreps_out: no path leads from irreps_v by filters of degree < 2"),
    ({"irreps_out": "0+"}, r"path_weight must have shape \(W, C\) = \(2, 6\), got \(4, 6\)"),
]
CASES = [*TOKENS, *IRREPS]


@pytest.mark.parametrize(("changes", "message"), CASES, ids=ids(CASES))
def test_tokens_and_irreps(changes, message):
    assert_raises("dense", changes, message)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_tokens_need_float32_positions(dtype):
    batch = make_batch("natural-1", "dense", SIZES, H, D, dtype=dtype)
    with pytest.raises(ValueError, match="positions must be float32 .for .* tokens., got"):
        call(batch, positions=batch.positions.to(dtype))


def test_irreps_of_queries_have_no_default():
    with pytest.raises(TypeError, match="irreps_qk"):
        so3_attention(*[None] * 6)
