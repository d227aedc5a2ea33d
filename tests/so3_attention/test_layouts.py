"""The same molecules give the same numbers back to back, padded, and one by one; padding is never read."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from tests.so3_attention.cases import FORMS, PAIR_FIELDS, VARIANTS, make_batch
from tests.support.layouts import pad

SIZES = [3, 5, 1, 0, 4]
REAL = torch.arange(max(SIZES)) < torch.tensor(SIZES)[:, None]


def padded(batch):
    """The batch with padded tensors; there is NaN, or an index out of range, in the padding."""
    sizes = batch.sizes
    own = {name: pad(getattr(batch, name), sizes, False) for name in ("query", "key", "value", "positions")}
    own |= {name: pad(x, sizes, True) for name in ("mask", "bias", "cutoff") if (x := getattr(batch, name)) is not None}
    rows = {f.name: getattr(batch.radial, f.name) for f in fields(batch.radial) if f.name in PAIR_FIELDS}
    rows = {name: pad(x, sizes, True) for name, x in rows.items() if x is not None}
    return replace(batch, **own, radial=replace(batch.radial, **rows))


def run_padded(batch, impl, **options):
    return padded(batch).run(impl, cu_seqlens=None, lengths=torch.tensor(batch.sizes), **options)


@pytest.mark.parametrize("options", [{}, {"bias": True}, {"mask": True, "bias": True, "cutoff": True}], ids=str)
@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_padded_equals_ragged(impl, irreps, radial, options):
    batch = make_batch(irreps, radial, SIZES, **options)
    out = run_padded(batch, impl)
    torch.testing.assert_close(out[REAL], batch.run(impl))
    assert (out[~REAL] == 0).all()


@pytest.mark.parametrize(("irreps", "radial"), VARIANTS)
def test_padded_gradients_equal_ragged_ones(impl, irreps, radial):
    batch = make_batch(irreps, radial, SIZES, bias=True, cutoff=True).requires_grad()
    names, leaves = zip(*batch.leaves().items(), strict=True)
    out = run_padded(batch, impl, exclude_self=True)
    cotangent = torch.randn_like(out)
    found = torch.autograd.grad(out, leaves, cotangent)
    expected = torch.autograd.grad(batch.run(impl, exclude_self=True), leaves, cotangent[REAL])
    for name, gradient, right in zip(names, found, expected, strict=True):
        torch.testing.assert_close(gradient, right, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_gradients_of_padded_tensors_are_zero_in_the_padding(impl, irreps, radial):
    batch = padded(make_batch(irreps, radial, SIZES, bias=True))
    batch = batch.with_leaves({n: x.nan_to_num(nan=0.3) for n, x in batch.leaves().items()}).requires_grad()
    names, leaves = zip(*batch.leaves().items(), strict=True)
    out = batch.run(impl, cu_seqlens=None, lengths=torch.tensor(SIZES))
    both = REAL[:, :, None] & REAL[:, None, :]
    real = {"bias": both, "a": both, "g": both} | dict.fromkeys(("query", "key", "value", "positions"), REAL)
    for name, gradient in zip(names, torch.autograd.grad(out.sin().sum(), leaves), strict=True):
        assert gradient.isfinite().all(), name
        if name in real:
            assert (gradient[~real[name]] == 0).all() and (gradient[real[name]] != 0).any(), name


@pytest.mark.parametrize(("irreps", "radial"), VARIANTS)
def test_batch_equals_one_molecule_at_a_time(impl, irreps, radial):
    batch = make_batch(irreps, radial, SIZES, mask=True, bias=True, cutoff=True)
    parts = [batch.molecule(b).run(impl) for b in range(len(SIZES))]
    torch.testing.assert_close(torch.cat(parts), batch.run(impl))


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_full_padded_batch_needs_no_lengths(impl, irreps, radial):
    batch = make_batch(irreps, radial, [4, 4])
    out = padded(batch).run(impl, cu_seqlens=None)
    torch.testing.assert_close(out.flatten(0, 1), batch.run(impl))


def test_boundaries_and_lengths_of_64_bits(impl):
    batch = make_batch("natural-1", "dense", SIZES)
    assert torch.equal(batch.run(impl, cu_seqlens=batch.cu_seqlens.long()), batch.run(impl))
    wide, narrow = (torch.tensor(SIZES, dtype=dtype) for dtype in (torch.int64, torch.int32))
    both = [padded(batch).run(impl, cu_seqlens=None, lengths=lengths) for lengths in (wide, narrow)]
    assert torch.equal(*both)


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_tokens_positions_and_weights_may_have_any_strides(impl, irreps, radial):
    batch = make_batch(irreps, radial, [3, 2], bias=True)
    shared = ("a", "g", "bias")  # per pair: those have to be contiguous
    strided = {n: x.mT.contiguous().mT for n, x in batch.leaves().items() if n not in shared}
    assert not any(x.is_contiguous() for x in strided.values())
    cotangent = batch.cotangent()
    expected_out, expected = batch.gradients(impl, cotangent)
    out, gradients = batch.with_leaves(strided).gradients(impl, cotangent)
    torch.testing.assert_close(out, expected_out)
    for name in expected:
        torch.testing.assert_close(gradients[name], expected[name], msg=lambda m, name=name: f"{name}: {m}")
