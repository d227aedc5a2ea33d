"""The Triton kernels against the reference in float64: sizes around the block edges, all irreps, options and widths.

Without a GPU they run in Triton's interpreter, on the CPU.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.so3_attention.cases import VARIANTS, Batch, make_batch
from tests.support.triton import needs_triton, on_device

pytestmark = needs_triton

TOLERANCE = {torch.float32: 2e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}
FORMS = pytest.mark.parametrize("radial", ["dense", "bernstein-scaled"])
SMALL, LARGE = (pytest.mark.usefixtures(f"{size}_blocks") for size in ("small", "large"))


def check(batch: Batch, **options) -> None:
    """Output and all gradients within rounding of the reference, relative to the largest element of each."""
    dtype = batch.query.dtype
    cotangent = batch.cotangent()
    expected, expected_gradients = batch.to(torch.float64).gradients("reference", cotangent.double(), **options)
    out, gradients = on_device(batch).gradients("triton", on_device(cotangent), **options)
    assert out.dtype == dtype
    for name, found, wanted in [("out", out, expected), *((n, g, expected_gradients[n]) for n, g in gradients.items())]:
        assert name == "out" or found.dtype == batch.leaves()[name].dtype, name
        error = (found.double().cpu() - wanted).abs().max() / wanted.abs().max().clamp(min=1e-3)
        assert error < TOLERANCE[dtype], (name, float(error))


@LARGE
@pytest.mark.parametrize(("irreps", "radial"), VARIANTS)
def test_every_variant_with_mask_bias_and_no_self_pairs(irreps, radial):
    check(
        make_batch(irreps, radial, [5, 1], heads=2, width=8, dtype=torch.float32, mask=True, bias=True),
        exclude_self=True,
    )


@SMALL
@pytest.mark.parametrize("sizes", [[3, 4], [1, 0, 9]], ids=str)
@FORMS
def test_sizes(radial, sizes):
    check(make_batch("natural-1", radial, sizes, heads=1, width=16, dtype=torch.float32))


@LARGE
@pytest.mark.parametrize("width", [1, 5, 24, 32])
@FORMS
def test_head_widths(radial, width):
    check(make_batch("first-block", radial, [2, 5], heads=3, width=width, dtype=torch.float32))


@pytest.mark.parametrize(("heads", "width"), [(4, 128), (6, 64), (8, 8), (8, 12), (8, 16)])
@FORMS
def test_blocks_of_the_rule(radial, heads, width):
    """C = 512, 384, 64, 96 and 128; with fewer pairs in a block where heads are wide."""
    check(make_batch("first-block", radial, [3, 2], heads=heads, width=width, dtype=torch.float32))


@SMALL
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@FORMS
def test_half_precision(radial, dtype):
    check(make_batch("natural-1", radial, [5], heads=2, width=8).to(dtype))


@LARGE
@pytest.mark.parametrize("count", [1, 64])
@pytest.mark.parametrize("kind", ["bernstein", "gaussian", "bessel"])
def test_numbers_of_radial_functions(kind, count):
    """Few and many: less than a block of a matrix product, and several."""
    batch = make_batch("first-block", kind, [4], heads=1, width=16, dtype=torch.float32)
    radial = replace(batch.radial, weight_a=torch.randn(count, 1, 16), weight_g=torch.randn(count, 2, 16))
    check(replace(batch, radial=radial))


@LARGE
def test_scaling_table_with_one_row_per_pair():
    batch = make_batch("first-block", "bernstein-scaled", [4], heads=1, width=16, dtype=torch.float32)
    pairs = batch.radial.index.shape[0]
    check(replace(batch, radial=replace(batch.radial, index=torch.randperm(pairs), scaling=torch.randn(pairs, 2, 5))))


@LARGE
def test_scaling_table_with_one_row_for_most_pairs():
    """More pairs than one chunk of the sum over them holds; and rows that no pair reads."""
    batch = make_batch("first-block", "bernstein-scaled", [18], heads=1, width=16, dtype=torch.float32)
    index = torch.zeros(324, dtype=torch.uint8)
    index[torch.randperm(324)[:30]] = 99
    check(replace(batch, radial=replace(batch.radial, index=index, scaling=torch.randn(100, 2, 5))), exclude_self=True)


@LARGE
@FORMS
def test_every_gradient_alone(radial):
    """What is not asked for is not computed, and does not change what is."""
    batch = make_batch("first-block", radial, [5], heads=1, width=16, dtype=torch.float32, bias=True)
    cotangent = on_device(batch.cotangent())
    given = on_device(batch)
    _, together = given.gradients("triton", cotangent)
    for name in together:
        leaf = given.leaves()[name].detach().requires_grad_()
        out = given.with_leaves({name: leaf}).run("triton")
        (alone,) = torch.autograd.grad(out, leaf, cotangent)
        torch.testing.assert_close(alone, together[name], atol=1e-6, rtol=1e-5)
