"""What the CPU kernels refuse, and what they leave untouched."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ditkernels import DensePair, TablePair, _native, pair_attention
from ditkernels.pair_attention.impl import cpu
from tests.pair_attention.cases import make_batch

pytestmark = pytest.mark.skipif(not _native.available, reason=str(_native.reason))


@pytest.mark.parametrize("variant", ["table", "displacement-table"])
@pytest.mark.parametrize("bad", [-1, 5, 1 << 40])
def test_index_out_of_range_is_reported(variant, bad):
    batch = make_batch(variant, [3, 4], dtype=torch.float32)
    index = batch.pair.index.long()
    index[11] = bad
    batch = replace(batch, pair=replace(batch.pair, index=index))
    with pytest.raises(RuntimeError, match=rf"index {bad} of pair row 11 is out of range \[0, 5\)"):
        batch.run("cpu")


def test_index_of_a_forbidden_pair_is_never_read():
    batch = make_batch("table", [3, 4], dtype=torch.float32)
    index, mask = batch.pair.index.long(), torch.ones(25, dtype=torch.bool)
    expected = replace(batch, mask=mask.index_fill(0, torch.tensor([11]), False)).run("cpu")
    index[11], mask[11] = 1000, False
    assert torch.equal(replace(batch, mask=mask, pair=replace(batch.pair, index=index)).run("cpu"), expected)


def test_other_devices_and_dtypes_are_refused_with_a_remedy():
    assert cpu.unsupported("dense", torch.device("cpu"), torch.float32) is None
    assert "move the tensors" in cpu.unsupported("dense", torch.device("meta"), torch.float32)
    assert "use float32" in cpu.unsupported("dense", torch.device("cpu"), torch.int32)


def test_rows_of_padding_may_hold_nan():
    """Tokens and pair rows behind a molecule's length are not read, and get output and gradients 0."""
    B, N, lengths = 3, 20, torch.tensor([20, 0, 7], dtype=torch.int32)
    inside = torch.arange(N) < lengths[:, None]
    query, key, value = (torch.randn(B, N, 2, 8).masked_fill(~inside[..., None, None], torch.nan) for _ in range(3))
    both = (inside[:, :, None] & inside[:, None, :])[..., None]
    a, b = (torch.randn(B, N, N, 16).masked_fill(~both, torch.nan).requires_grad_() for _ in range(2))
    query.requires_grad_()
    out = pair_attention(query, key, value, DensePair(a, b), lengths=lengths, impl="cpu", exclude_self=True)
    gradients = torch.autograd.grad(out, (query, a, b), torch.randn_like(out))
    assert out[~inside].abs().max() == 0 and out.isfinite().all()
    for gradient, rows in zip(gradients, (inside, both[..., 0], both[..., 0]), strict=True):
        assert gradient.isfinite().all() and gradient[~rows].abs().max() == 0


def test_nan_in_the_query_is_not_hidden():
    batch = make_batch("table", [4], dtype=torch.float32)
    out = replace(batch, query=torch.full_like(batch.query, torch.nan)).run("cpu")
    assert out.isnan().all()


def test_no_atoms_at_all():
    empty = torch.zeros(0, 2, 8)
    table = torch.randn(3, 16, requires_grad=True)
    pair = TablePair(torch.zeros(0, dtype=torch.int32), table)
    for boundaries in ([0], [0, 0, 0]):
        cu_seqlens = torch.tensor(boundaries, dtype=torch.int32)
        out = pair_attention(empty, empty, empty, pair, cu_seqlens=cu_seqlens, impl="cpu")
        (gradient,) = torch.autograd.grad(out, table, torch.zeros_like(out))
        assert out.shape == (0, 2, 8) and gradient.abs().max() == 0
