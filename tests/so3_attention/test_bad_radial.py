"""Wrong path weights or radial descriptors: one ValueError that names the argument and says what was expected."""

from __future__ import annotations

import pytest
import torch

from ditkernels import DensePair
from tests.so3_attention.wrong import assert_raises, ids, meta, zeros

F32 = torch.float32

# (changed arguments, words of the message)
DENSE = [
    ({"path_weight": zeros(5, 6)}, r"path_weight must have shape \(W, C\) = \(4, 6\), got \(5, 6\)"),
    ({"path_weight": zeros(4, 5)}, r"path_weight must have shape \(W, C\) = \(4, 6\)"),
    ({"path_weight": zeros(4, 6, dtype=F32)}, "path_weight must be float64"),
    ({"path_weight": meta(4, 6)}, "path_weight must be on the device of query"),
    ({"radial": zeros(13, 2, 6)}, "radial must be DenseRadial or RadialBasis, got Tensor"),
    ({"radial": None}, "radial must be DenseRadial or RadialBasis, got NoneType"),
    ({"radial": DensePair(zeros(13, 6))}, "radial must be DenseRadial or RadialBasis, got DensePair"),
    ({"a": None}, "a must be a tensor"),
    ({"a": zeros(13, 3, 6)}, r"a must have shape \(P, A, C\) = \(P, 2, 6\), got \(13, 3, 6\)"),
    ({"a": zeros(13, 2, 6, dtype=F32)}, "a must be float64"),
    ({"a": meta(13, 2, 6)}, "a must be on the device of query"),
    ({"a": zeros(13, 6, 2).mT}, "a must be contiguous .* got strides"),
    ({"g": zeros(12, 2, 6)}, r"g must have shape \(P, J, C\) = \(13, J, 6\), got \(12, 2, 6\)"),
    ({"g": zeros(13, 4, 6)}, "g must have 1, 2 or 3 filter degrees J, got J = 4"),
    ({"g": zeros(13, 0, 6)}, "g must have 1, 2 or 3 filter degrees J, got J = 0"),
    ({"g": zeros(13, 1, 6)}, r"path_weight must have shape \(W, C\) = \(2, 6\)"),
    ({"g": zeros(1, 2, 6).expand(13, 2, 6)}, "g must be contiguous"),
]
BASIS = [  # K = 5, S = 4
    ({"kind": "fourier"}, "RadialBasis: kind must be one of 'bernstein', 'gaussian', 'bessel', got 'fourier'"),
    ({"kind": "gaussian"}, "RadialBasis: cutoff must be a positive distance .* got None"),
    ({"kind": "bessel", "basis_cutoff": 0.0}, "RadialBasis: cutoff must be a positive distance"),
    ({"kind": "gaussian", "basis_cutoff": -1.0}, "RadialBasis: cutoff must be a positive distance"),
    ({"kind": "gaussian", "basis_cutoff": float("nan")}, "RadialBasis: cutoff must be a positive distance"),
    ({"basis_cutoff": 3.0}, "RadialBasis: cutoff: the 'bernstein' basis has no cutoff"),
    ({"weight_a": None}, "weight_a must be a tensor"),
    ({"weight_a": zeros(5, 3, 6)}, r"weight_a must have shape \(K, A, C\) = \(K, 2, 6\), got \(5, 3, 6\)"),
    ({"weight_a": zeros(5, 2, 6, dtype=F32)}, "weight_a must be float64"),
    ({"weight_g": zeros(4, 2, 6)}, r"weight_g must have shape \(K, J, C\) = \(5, J, 6\), got \(4, 2, 6\)"),
    ({"weight_g": zeros(5, 4, 6), "index": None, "scaling": None}, "weight_g must have 1, 2 or 3 filter degrees J"),
    ({"weight_g": meta(5, 2, 6)}, "weight_g must be on the device of query"),
    ({"index": None}, "index and scaling of RadialBasis must be given together or not at all"),
    ({"scaling": None}, "index and scaling of RadialBasis must be given together or not at all"),
    ({"index": zeros(13)}, "index must be uint8 or int16 or int32 or int64"),
    ({"index": zeros(12, dtype=torch.int64)}, "pair tensors must have P = 13 rows .* got 12"),
    ({"index": zeros(13, 1, dtype=torch.int64)}, r"index must have shape \(P,\)"),
    ({"index": zeros(26, dtype=torch.int64)[::2]}, "index must be contiguous"),
    ({"scaling": zeros(4, 3, 5)}, r"scaling must have shape \(S, J, K\) = \(S, 2, 5\), got \(4, 3, 5\)"),
    ({"scaling": zeros(4, 2, 5, dtype=F32)}, "scaling must be float64"),
    ({"index": torch.full((13,), 4), "check": True}, r"index must lie between 0 and S - 1 = 3 \(the rows of scaling\)"),
    ({"index": torch.full((13,), -1), "check": True}, "index must lie between 0 and S - 1 = 3"),
]


@pytest.mark.parametrize(("changes", "message"), DENSE, ids=ids(DENSE))
def test_dense(changes, message):
    assert_raises("dense", changes, message)


@pytest.mark.parametrize(("changes", "message"), BASIS, ids=ids(BASIS))
def test_basis(changes, message):
    assert_raises("bernstein-scaled", changes, message)
