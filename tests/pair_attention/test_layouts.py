"""The same molecules give the same numbers back to back, padded, and one by one; padding is never read."""

from __future__ import annotations

import pytest
import torch

from ditkernels import DensePair, DisplacementPair, ProjectedPair, TablePair, pair_attention
from ditkernels.layout import Layout
from tests.pair_attention.cases import make_batch
from tests.support.layouts import boundaries, pad

VARIANTS = ("dense", "table", "projected", "displacement", "displacement-table")
SIZES = [3, 5, 1, 0, 4]


def pad_pair(pair, sizes):
    if pair.form == "dense":
        return DensePair(pad(pair.a, sizes, True), pad(pair.b, sizes, True))
    if pair.form == "table":
        return TablePair(pad(pair.index, sizes, True), pair.table_a, pair.table_b)
    if pair.form == "projected":
        return ProjectedPair(pad(pair.e, sizes, True), pair.weight_a, pair.weight_b)
    index = None if pair.index is None else pad(pair.index, sizes, True)
    rest = (pair.v1, pair.weight_a, pair.weight_b, index, pair.table_a, pair.table_b)
    return DisplacementPair(pad(pair.positions, sizes, False), *rest)


def run_padded(batch, impl):
    sizes = batch.sizes
    tokens = [pad(x, sizes, False) for x in (batch.query, batch.key, batch.value)]
    rows = {name: pad(x, sizes, True) for name, x in (("mask", batch.mask), ("bias", batch.bias)) if x is not None}
    return pair_attention(*tokens, pad_pair(batch.pair, sizes), lengths=torch.tensor(sizes), impl=impl, **rows)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_padded_equals_ragged(impl, variant, masked):
    batch = make_batch(variant, SIZES, mask=masked, bias=True)
    out = run_padded(batch, impl)
    real = torch.arange(max(SIZES)) < torch.tensor(SIZES)[:, None]
    torch.testing.assert_close(out[real], batch.run(impl))
    assert (out[~real] == 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_padded_gradients_equal_ragged_ones(impl, variant):
    batch = make_batch(variant, SIZES, bias=True).requires_grad()
    leaves = list(batch.leaves().values())
    cotangent = torch.randn(len(SIZES), max(SIZES), *batch.query.shape[1:], dtype=torch.float64)
    real = torch.arange(max(SIZES)) < torch.tensor(SIZES)[:, None]
    padded = torch.autograd.grad(run_padded(batch, impl), leaves, cotangent)
    ragged = torch.autograd.grad(batch.run(impl), leaves, cotangent[real])
    for name, found, expected in zip(batch.leaves(), padded, ragged, strict=True):
        torch.testing.assert_close(found, expected, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("variant", ["dense", "table", "projected"])
def test_padded_pair_gradient_is_zero_in_the_padding(impl, variant):
    batch = make_batch(variant, [2, 4])
    name = {"dense": "a", "table": "table_a", "projected": "e"}[variant]
    pair = pad_pair(batch.pair, [2, 4])
    leaf = getattr(pair, name).nan_to_num().requires_grad_()
    padded = torch.autograd.grad(
        pair_attention(
            *(pad(x, [2, 4], False) for x in (batch.query, batch.key, batch.value)),
            type(pair)(**(vars(pair) | {name: leaf})),
            lengths=torch.tensor([2, 4]),
            impl=impl,
        ).sum(),
        leaf,
    )[0]
    assert padded.isfinite().all()
    if variant != "table":
        assert (padded[0, 2:] == 0).all() and (padded[0, :, 2:] == 0).all() and padded[0, :2, :2].abs().min() > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_batch_equals_one_molecule_at_a_time(impl, variant):
    batch = make_batch(variant, SIZES)
    parts = []
    positions = batch.pair.positions.split(SIZES) if "displacement" in variant else [None] * len(SIZES)
    rows = {"dense": ("a", "b"), "projected": ("e",)}.get(variant, ("index",) if "table" in variant else ())
    rows = {name: getattr(batch.pair, name).split([n * n for n in SIZES]) for name in rows}
    tokens = zip(*(x.split(SIZES) for x in (batch.query, batch.key, batch.value)), strict=True)
    for b, (n, qkv) in enumerate(zip(SIZES, tokens, strict=True)):
        own = {name: parts_of[b].contiguous() for name, parts_of in rows.items()}
        own |= {} if positions[b] is None else {"positions": positions[b]}
        pair = type(batch.pair)(**(vars(batch.pair) | own))
        parts.append(pair_attention(*qkv, pair, cu_seqlens=boundaries([n]), impl=impl))
    torch.testing.assert_close(torch.cat(parts), batch.run(impl))


def test_full_padded_batch_needs_no_lengths(impl):
    batch = make_batch("table", [4, 4])
    tokens = [x.unflatten(0, (2, 4)) for x in (batch.query, batch.key, batch.value)]
    pair = TablePair(batch.pair.index.reshape(2, 4, 4), batch.pair.table_a, batch.pair.table_b)
    torch.testing.assert_close(pair_attention(*tokens, pair, impl=impl).flatten(0, 1), batch.run(impl))


def test_tokens_may_have_any_strides(impl):
    batch = make_batch("table", [3, 2])
    joined = torch.cat([batch.query, batch.key, batch.value], dim=-1)
    parts = joined.chunk(3, dim=-1)
    assert not parts[0].is_contiguous()
    out = pair_attention(*parts, batch.pair, cu_seqlens=batch.cu_seqlens, impl=impl)
    torch.testing.assert_close(out, batch.run(impl))


def test_offsets_of_both_layouts():
    ragged = Layout.ragged(boundaries([2, 0, 3]), 5, 13)
    assert ragged.offsets.tolist() == [0, 2, 2] and ragged.lengths.tolist() == [2, 0, 3]
    assert ragged.pair_offsets.tolist() == [0, 4, 4] and ragged.pair_stride == 0
    padded = Layout.padded(2, 3, torch.tensor([1, 3]), torch.device("cpu"))
    assert padded.offsets.tolist() == [0, 3] and padded.pair_offsets.tolist() == [0, 9] and padded.pair_stride == 3
    assert ragged.pair_offsets.dtype == padded.pair_offsets.dtype == torch.int64


def test_pair_offsets_beyond_32_bits():
    layout = Layout.ragged(torch.tensor([0, 60_000, 120_000], dtype=torch.int32), 120_000)
    assert layout.pair_offsets.tolist() == [0, 3_600_000_000]
