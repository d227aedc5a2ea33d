"""The CPU kernels against the reference in float64: sizes around the block edges, widths with and without vectors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ditkernels import _native
from tests.so3_attention.cases import IRREPS, VARIANTS, Batch, make_batch, symmetric_index

pytestmark = pytest.mark.skipif(not _native.available, reason=str(_native.reason))

SIZES = ([1, 2, 15, 16, 17], [31, 33, 0, 1], [40, 65])
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def check(batch: Batch, **options) -> None:
    """Output and all gradients within rounding of the reference, relative to the largest element of each."""
    dtype = batch.query.dtype
    exact = batch.to(torch.float64)
    cotangent = batch.cotangent()
    out, gradients = batch.gradients("cpu", cotangent, **options)
    expected, expected_gradients = exact.gradients("reference", cotangent.double(), **options)
    for name, found, wanted in [("out", out, expected), *((n, g, expected_gradients[n]) for n, g in gradients.items())]:
        error = (found.double() - wanted).abs().max() / wanted.abs().max().clamp(min=1e-3)
        assert error < TOLERANCE[dtype], (name, float(error))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("irreps, radial", VARIANTS, ids="-".join)
def test_every_variant(irreps, radial, dtype):
    check(make_batch(irreps, radial, [3, 18, 1], heads=2, width=8, dtype=dtype))


@pytest.mark.parametrize("irreps", IRREPS)
def test_mask_bias_and_no_self_pairs_together(irreps):
    batch = make_batch(irreps, "bernstein-scaled", [20, 9, 1], width=8, dtype=torch.float32, mask=True, bias=True)
    check(batch, exclude_self=True)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("radial", ["dense", "gaussian-scaled"])
def test_sizes(radial, sizes):
    check(make_batch("natural-2", radial, sizes, heads=1, width=8, dtype=torch.float32))


def test_the_largest_molecule():
    """181 atoms: more receivers than one chunk holds."""
    check(make_batch("parity-1", "bernstein-scaled", [181], heads=1, width=8, dtype=torch.float32), exclude_self=True)


@pytest.mark.parametrize("width", [1, 4, 5, 12, 16, 24, 32])
@pytest.mark.parametrize("radial", ["dense", "bernstein"])
def test_head_widths(radial, width):
    check(make_batch("natural-2", radial, [7, 18], heads=3, width=width, dtype=torch.float32))


@pytest.mark.parametrize("count", [1, 2, 7, 64, 600])
def test_numbers_of_radial_functions(count):
    batch = make_batch("natural-1", "bernstein", [12, 19], width=8, dtype=torch.float32)
    radial = replace(batch.radial, weight_a=torch.randn(count, 2, 16), weight_g=torch.randn(count, 2, 16))
    check(replace(batch, radial=radial))


@pytest.mark.parametrize("kind", ["bernstein-scaled", "gaussian", "bessel"])
@pytest.mark.parametrize("spread", [0.0, 1e-3, 30.0])
def test_atoms_in_one_place_close_together_and_far_apart(kind, spread):
    batch = make_batch("natural-2", kind, [6, 9], width=8)
    check(replace(batch, positions=spread * batch.positions))


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("irreps", ["natural-2", "parity-1"])
def test_both_directions_of_a_pair_share_their_radial_weights(irreps, mask):
    """Where the row of the scaling table is the same both ways; a mask may leave one direction."""
    batch = make_batch(irreps, "bernstein-scaled", [33, 18, 2, 7, 1], width=8, dtype=torch.float32, mask=mask)
    check(symmetric_index(batch), exclude_self=True)


def test_scaling_table_with_one_row_per_pair():
    batch = make_batch("natural-1", "bernstein-scaled", [20, 13], width=8, dtype=torch.float32)
    pairs = batch.radial.index.shape[0]
    check(replace(batch, radial=replace(batch.radial, index=torch.randperm(pairs), scaling=torch.randn(pairs, 2, 5))))


def test_bias_of_minus_infinity_closes_a_pair():
    """No weight, no gradient, also where it closes all pairs of a receiver."""
    batch = make_batch("natural-2", "dense", [6, 18], width=8, dtype=torch.float32, bias=True)
    closed = torch.rand(batch.bias.shape[0]) < 0.4
    closed[:6] = True
    open_bias = replace(batch, bias=batch.bias.masked_fill(closed[:, None], 0.0), mask=~closed)
    batch = replace(batch, bias=batch.bias.masked_fill(closed[:, None], -torch.inf))
    cotangent = batch.cotangent()
    expected, expected_gradients = open_bias.gradients("cpu", cotangent)
    out, gradients = batch.gradients("cpu", cotangent)
    assert torch.equal(out[0], torch.zeros_like(out[0]))
    torch.testing.assert_close(out, expected)
    for name in gradients:
        torch.testing.assert_close(gradients[name], expected_gradients[name])
