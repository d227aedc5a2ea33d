"""One call with wrong arguments: helpers of the tests that ask for a clear ValueError."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from ditkernels import so3_attention
from tests.so3_attention.cases import make_batch

SIZES, H, D = [2, 3], 2, 3  # T = 5, P = 13, C = 6; "0+ 1-": M = 4, A = 2, W = 4; J = 2


def call(batch, **changes):
    """Run a batch with some arguments of so3_attention or fields of its descriptor replaced."""
    own = {name.removeprefix("basis_"): value for name, value in changes.items() if name.startswith("basis_")}
    names = [field.name for field in fields(batch.radial) if field.name != "cutoff"]
    own |= {name: value for name, value in changes.items() if name in names}
    rest = {name: value for name, value in changes.items() if name not in own and not name.startswith("basis_")}
    tokens = {name: getattr(batch, name) for name in ("query", "key", "value", "positions", "path_weight")}
    options = {"irreps_qk": "0+ 1-", "cu_seqlens": batch.cu_seqlens, "impl": "reference"}
    return so3_attention(**(tokens | {"radial": replace(batch.radial, **own)} | options | rest))


def zeros(*shape, dtype=torch.float64):
    return torch.zeros(shape, dtype=dtype)


def meta(*shape, dtype=torch.float64):
    return torch.zeros(shape, dtype=dtype, device="meta")


def ints(*values, dtype=torch.int32):
    return torch.tensor(values, dtype=dtype)


def ids(cases):
    return [f"{'-'.join(changes)}-{i}" for i, (changes, _) in enumerate(cases)]


def assert_raises(radial, changes, message):
    batch = make_batch("natural-1", radial, SIZES, H, D)
    assert call(batch).shape == (5, 4, H, D)
    with pytest.raises(ValueError, match=message) as error:
        call(batch, **changes)
    assert "\n" not in str(error.value)
