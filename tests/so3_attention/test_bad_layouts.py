"""Wrong boundaries, masks, biases, cutoffs and padded tensors: one ValueError that names the argument."""

from __future__ import annotations

import pytest
import torch

from ditkernels import DenseRadial, RadialBasis, so3_attention
from tests.so3_attention.wrong import assert_raises, ids, ints, meta, zeros

# (changed arguments, words of the message)
RAGGED = [
    ({"mask": zeros(13)}, "mask must be bool"),
    ({"mask": zeros(12, dtype=torch.bool)}, r"mask must have shape \(P,\) = \(13,\), got \(12,\)"),
    ({"mask": zeros(26, dtype=torch.bool)[::2]}, "mask must be contiguous"),
    ({"bias": zeros(13, 3)}, r"bias must have shape \(P, H\) = \(13, 2\), got \(13, 3\)"),
    ({"bias": zeros(13, 2, dtype=torch.float16)}, "bias must be float64 or float32"),
    ({"bias": meta(13, 2)}, "bias must be on the device of query"),
    ({"bias": zeros(2, 13).t()}, "bias must be contiguous"),
    ({"cutoff": zeros(13, 2)}, r"cutoff must have shape \(P,\) = \(13,\), got \(13, 2\)"),
    ({"cu_seqlens": None}, "cu_seqlens must be given for a ragged query"),
    ({"lengths": ints(2, 3)}, "lengths must be None for a ragged query"),
    ({"cu_seqlens": [0, 2, 5]}, "cu_seqlens must be a tensor"),
    ({"cu_seqlens": zeros(3)}, "cu_seqlens must be int32 or int64"),
    ({"cu_seqlens": ints(0, 2, 5).reshape(1, 3)}, "cu_seqlens must have shape"),
    ({"cu_seqlens": ints()}, "cu_seqlens must have shape"),
    ({"cu_seqlens": ints(0, 3, 2, 5)}, "cu_seqlens must start at 0 and never decrease"),
    ({"cu_seqlens": ints(1, 3, 5)}, "cu_seqlens must start at 0"),
    ({"cu_seqlens": ints(0, 2, 4)}, r"cu_seqlens must end at T = 5 \(the rows of query\), got 4"),
    ({"cu_seqlens": ints(0, 1, 5)}, "pair tensors must have P = 17 rows .* got 13"),
    ({"cu_seqlens": meta(3, dtype=torch.int32)}, "cu_seqlens must be on the device"),
]
PADDED = [
    ({"cu_seqlens": ints(0, 4, 8)}, "cu_seqlens must be None for a padded query"),
    ({"lengths": ints(4, 3, 2)}, r"lengths must have shape \(B,\) = \(2,\), got \(3,\)"),
    ({"lengths": zeros(2)}, "lengths must be int32 or int64"),
    ({"lengths": ints(4, 5)}, "lengths must lie between 0 and N = 4, got 4 ... 5"),
    ({"lengths": ints(-1, 4)}, "lengths must lie between 0 and N = 4"),
    ({"positions": zeros(8, 3)}, r"positions must have shape \(B, N, 3\) = \(2, 4, 3\), got \(8, 3\)"),
    (
        {"radial": DenseRadial(zeros(32, 2, 6), zeros(32, 2, 6))},
        r"a must have shape \(B, N, N, A, C\) = \(2, 4, 4, 2, 6\)",
    ),
    ({"radial": DenseRadial(zeros(2, 4, 4, 2, 6), zeros(2, 4, 5, 2, 6))}, "g must have shape"),
    ({"radial": DenseRadial(zeros(2, 4, 4, 6, 2).mT, zeros(2, 4, 4, 2, 6))}, "a must be contiguous"),
    (
        {"radial": RadialBasis("bernstein", *zeros(2, 5, 2, 6), index=ints(1, 2), scaling=zeros(4, 2, 5))},
        r"index must have shape \(B, N, N\) = \(2, 4, 4\)",
    ),
    ({"mask": zeros(2, 4, dtype=torch.bool)}, r"mask must have shape \(B, N, N\) = \(2, 4, 4\)"),
    ({"bias": zeros(2, 4, 4)}, r"bias must have shape \(B, N, N, H\) = \(2, 4, 4, 2\)"),
    ({"cutoff": zeros(32)}, r"cutoff must have shape \(B, N, N\) = \(2, 4, 4\)"),
]


@pytest.mark.parametrize(("changes", "message"), RAGGED, ids=ids(RAGGED))
def test_ragged(changes, message):
    assert_raises("dense", changes, message)


@pytest.mark.parametrize(("changes", "message"), PADDED, ids=ids(PADDED))
def test_padded(changes, message):
    arguments = dict.fromkeys(("query", "key", "value"), zeros(2, 4, 4, 2, 3))
    arguments |= {"positions": zeros(2, 4, 3), "path_weight": zeros(4, 6), "irreps_qk": "0+ 1-"}
    arguments |= {"radial": DenseRadial(*zeros(2, 2, 4, 4, 2, 6))}
    assert so3_attention(**arguments).shape == (2, 4, 4, 2, 3)
    with pytest.raises(ValueError, match=message):
        so3_attention(**(arguments | changes))
