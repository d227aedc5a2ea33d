"""What the CPU kernels refuse, what they leave untouched, and how little memory they take."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from ditkernels import _native, so3_attention
from ditkernels.so3_attention.impl import cpu
from tests.so3_attention.cases import make_batch
from tests.support.levels import python

pytestmark = pytest.mark.skipif(not _native.available, reason=str(_native.reason))


@pytest.mark.parametrize("bad", [-1, 4, 1 << 40])
def test_index_out_of_range_is_reported(bad):
    batch = make_batch("natural-1", "bernstein-scaled", [3, 4], dtype=torch.float32)
    index = batch.radial.index.long()
    index[11] = bad
    batch = replace(batch, radial=replace(batch.radial, index=index))
    with pytest.raises(RuntimeError, match=rf"index {bad} of pair row 11 is out of range \[0, 4\)"):
        batch.run("cpu")


def test_index_of_a_forbidden_pair_is_never_read():
    batch = make_batch("natural-1", "bernstein-scaled", [3, 4], dtype=torch.float32)
    index, mask = batch.radial.index.long(), torch.ones(25, dtype=torch.bool)
    mask[11] = False
    expected = replace(batch, mask=mask).run("cpu")
    index[11] = 1000
    assert torch.equal(replace(batch, mask=mask, radial=replace(batch.radial, index=index)).run("cpu"), expected)


def test_other_devices_and_dtypes_are_refused_with_a_remedy():
    assert cpu.unsupported("dense", torch.device("cpu"), torch.float32) is None
    assert "move the tensors" in cpu.unsupported("dense", torch.device("meta"), torch.float32)
    assert "use float32" in cpu.unsupported("dense", torch.device("cpu"), torch.int32)


@pytest.mark.parametrize("radial", ["dense", "bernstein-scaled"])
def test_rows_of_padding_may_hold_nan(radial):
    """Tokens and pair rows behind a molecule's length are not read, and get output and gradients 0."""
    B, N, lengths = 3, 20, torch.tensor([20, 0, 7], dtype=torch.int32)
    batch = make_batch("natural-1", radial, [N] * B, width=8, dtype=torch.float32)
    inside = torch.arange(N) < lengths[:, None]
    both = inside[:, :, None] & inside[:, None, :]

    def padded(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        x = x.reshape(*rows.shape, *x.shape[1:])
        return x.masked_fill(~rows.reshape(*rows.shape, *[1] * (x.dim() - rows.dim())), torch.nan).requires_grad_()

    tokens = [padded(getattr(batch, name), inside) for name in ("query", "key", "value", "positions")]
    if radial == "dense":
        rows = {"a": padded(batch.radial.a, both), "g": padded(batch.radial.g, both)}
    else:
        rows = {"index": batch.radial.index.reshape(B, N, N)}
    out = so3_attention(
        *tokens,
        batch.path_weight,
        replace(batch.radial, **rows),
        irreps_qk=batch.irreps[0],
        lengths=lengths,
        impl="cpu",
        exclude_self=True,
    )
    assert out[~inside].abs().max() == 0 and out.isfinite().all()
    pair_rows = [x for x in rows.values() if x.is_floating_point()]
    gradients = torch.autograd.grad(out, (*tokens, *pair_rows), torch.randn_like(out))
    for gradient, rows in zip(gradients, [inside] * 4 + [both] * len(pair_rows), strict=True):
        assert gradient.isfinite().all() and gradient[~rows].abs().max() == 0


def test_nan_in_the_query_is_not_hidden():
    batch = make_batch("natural-1", "dense", [4], dtype=torch.float32)
    out = replace(batch, query=torch.full_like(batch.query, torch.nan)).run("cpu")
    assert out.isnan().all()


@pytest.mark.parametrize("boundaries", [[0], [0, 0, 0]])
def test_no_atoms_at_all(boundaries):
    batch = make_batch("natural-1", "bernstein-scaled", [], width=8, dtype=torch.float32)
    batch = replace(batch, cu_seqlens=torch.tensor(boundaries, dtype=torch.int32))
    out, gradients = batch.gradients("cpu", batch.cotangent())
    assert out.shape == (0, 4, 2, 8)
    assert gradients["weight_a"].abs().max() == 0 and gradients["scaling"].abs().max() == 0


MEMORY = """
import resource, torch
from tests.so3_attention.cases import make_batch
torch.manual_seed(0)
batch = make_batch("natural-2", "bernstein-scaled", [180] * 4, heads=4, width=32, dtype=torch.float32)
batch.molecule(0).gradients("cpu", batch.molecule(0).cotangent(), exclude_self=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
batch.gradients("cpu", batch.cotangent(), exclude_self=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts kilobytes on Linux only")
def test_nothing_of_pairs_times_channels_is_allocated():
    """129,600 pairs of 128 channels are 66 MB per degree; forward and backward together stay far below."""
    result = python(MEMORY, "")
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 40_000
