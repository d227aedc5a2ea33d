"""The CPU kernels against the reference in float64: sizes around the block edges, widths with and without vectors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ditkernels import _native
from tests.pair_attention.cases import VARIANTS, Batch, make_batch

pytestmark = pytest.mark.skipif(not _native.available, reason=str(_native.reason))

SIZES = ([1, 2, 15, 16, 17], [31, 33, 0, 1], [40, 65])
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-13}


def check(batch: Batch, **options) -> None:
    """Output and all gradients within rounding of the reference, relative to the largest element of each."""
    dtype = batch.query.dtype
    exact = batch.to(torch.float64)
    cotangent = torch.randn_like(batch.query)
    out, gradients = batch.gradients("cpu", cotangent, **options)
    expected, expected_gradients = exact.gradients("reference", cotangent.double(), **options)
    for name, found, wanted in [("out", out, expected), *((n, g, expected_gradients[n]) for n, g in gradients.items())]:
        error = (found.double() - wanted).abs().max() / wanted.abs().max().clamp(min=1e-3)
        assert error < TOLERANCE[dtype], (name, float(error))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_sizes(variant, sizes, dtype):
    check(make_batch(variant, sizes, heads=2, width=8, dtype=dtype))


@pytest.mark.parametrize("width", [1, 4, 5, 12, 16, 24, 32, 64])
@pytest.mark.parametrize("variant", ["dense", "table", "projected", "displacement-table"])
def test_head_widths(variant, width):
    check(make_batch(variant, [7, 18], heads=3, width=width, dtype=torch.float32))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_mask_bias_and_no_self_pairs_together(variant, dtype):
    check(make_batch(variant, [20, 33, 1], width=8, dtype=dtype, mask=True, bias=True), exclude_self=True)


@pytest.mark.parametrize("variant", ["dense", "table", "projected", "displacement-table"])
def test_molecules_of_several_chunks(variant):
    """A molecule is cut above 128 receivers, and above 256 where the whole of it shares projections."""
    check(make_batch(variant, [129, 257, 10, 3], heads=2, width=4, dtype=torch.float64))


@pytest.mark.parametrize("variant", ["displacement-table", "displacement-table-shared"])
@pytest.mark.parametrize("missing", ["weight_b", "table_b"])
def test_one_shared_weight_or_table(variant, missing):
    batch = make_batch("displacement-table", [9, 20], width=8, dtype=torch.float32)
    check(replace(batch, pair=replace(batch.pair, **{missing: None})))


@pytest.mark.parametrize("hidden", [1, 7, 64, 100])
def test_numbers_of_features(hidden):
    batch = make_batch("displacement", [12, 19], width=8, dtype=torch.float32)
    v1, weight = torch.randn(3, hidden), torch.randn(hidden, 16)
    check(replace(batch, pair=replace(batch.pair, v1=v1, weight_a=weight, weight_b=weight.flip(0))))


def test_table_with_one_row_per_pair():
    batch = make_batch("table", [40, 33], width=8, dtype=torch.float32)
    pairs = batch.pair.index.shape[0]
    pair = replace(
        batch.pair, index=torch.randperm(pairs), table_a=torch.randn(pairs, 16), table_b=torch.randn(pairs, 16)
    )
    check(replace(batch, pair=pair))


def test_bond_table_with_one_shared_row():
    """Row 0 for all pairs that are not bonded, one row for each directed bond."""
    batch = make_batch("table", [44, 44, 20], width=32, dtype=torch.float32)
    index = torch.zeros_like(batch.pair.index, dtype=torch.int64)
    bonded = torch.randperm(index.shape[0])[:200]
    index[bonded] = torch.arange(1, 201)
    pair = replace(batch.pair, index=index, table_a=torch.randn(201, 64), table_b=torch.randn(201, 64))
    check(replace(batch, pair=pair), exclude_self=True)


def test_bias_of_minus_infinity_closes_a_pair():
    """The logarithm of a cutoff of 0: no weight, no gradient, also where it closes all pairs of a receiver."""
    batch = make_batch("dense", [6, 18], width=8, dtype=torch.float32, bias=True)
    closed = torch.rand(batch.bias.shape[0]) < 0.4
    closed[:6] = True
    batch = replace(batch, bias=batch.bias.masked_fill(closed[:, None], -torch.inf))
    masked = replace(batch, bias=None, mask=~closed)
    cotangent = torch.randn_like(batch.query)
    open_bias = replace(batch, bias=batch.bias.masked_fill(closed[:, None], 0.0), mask=~closed)
    expected, expected_gradients = open_bias.gradients("cpu", cotangent)
    out, gradients = batch.gradients("cpu", cotangent)
    assert torch.equal(out[0], torch.zeros_like(out[0])) and masked.run("cpu")[0].abs().max() == 0
    torch.testing.assert_close(out, expected)
    for name in gradients:
        torch.testing.assert_close(gradients[name], expected_gradients[name])


def test_displacements_far_apart():
    """One projection serves both directions of a pair by silu(-z) = silu(z) - z: |z| >> 1 must not cost digits."""
    batch = make_batch("displacement-table", [18, 30], width=8, dtype=torch.float32)
    check(replace(batch, pair=replace(batch.pair, positions=10 * batch.pair.positions)))
