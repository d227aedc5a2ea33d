"""The Triton kernels against the reference in float64: sizes around the block edges, all options, all widths.

Without a GPU they run in Triton's interpreter, on the CPU.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ditkernels.triton import configs
from ditkernels.triton.configs import Config
from tests.pair_attention.cases import VARIANTS, Batch, make_batch
from tests.support.triton import needs_triton, on_device

pytestmark = needs_triton

TOLERANCE = {torch.float32: 2e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def small_blocks(key) -> Config:
    """Blocks smaller than any molecule of a drug, so that few atoms have several."""
    heads = 1 if key.kernel == "rows" else max(1, 16 // configs.power_of_two(key.width))
    listed = key.kernel in ("weights", "features", "rows")
    return Config(4, 32 if listed else 8, heads, features=16, warps=1, stages=1)


def of_the_rule(key) -> None:
    """The blocks that a GPU would get."""


def check(batch: Batch, blocks=small_blocks, **options) -> None:
    """Output and all gradients within rounding of the reference, relative to the largest element of each."""
    dtype = batch.query.dtype
    exact = batch.to(torch.float64)
    cotangent = torch.randn_like(batch.query)
    expected, expected_gradients = exact.gradients("reference", cotangent.double(), **options)
    with configs.override(blocks):
        out, gradients = on_device(batch).gradients("triton", on_device(cotangent), **options)
    for name, found, wanted in [("out", out, expected), *((n, g, expected_gradients[n]) for n, g in gradients.items())]:
        assert found.dtype == (torch.float32 if name in ("positions", "v1") else dtype)
        error = (found.double().cpu() - wanted).abs().max() / wanted.abs().max().clamp(min=1e-3)
        assert error < TOLERANCE[dtype], (name, float(error))


@pytest.mark.parametrize("sizes", [[7, 8, 9], [1, 0, 17]], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_sizes(variant, sizes):
    check(make_batch(variant, sizes, heads=2, width=8, dtype=torch.float32))


@pytest.mark.parametrize("variant", VARIANTS)
def test_mask_bias_and_no_self_pairs_together(variant):
    batch = make_batch(variant, [5, 10, 1], heads=3, width=8, dtype=torch.float32, mask=True, bias=True)
    check(batch, exclude_self=True)


@pytest.mark.parametrize("width", [1, 5, 16, 24])
@pytest.mark.parametrize("variant", ["dense", "displacement-table"])
def test_head_widths(variant, width):
    """The second one has projections and tables."""
    check(make_batch(variant, [3, 9], heads=3, width=width, dtype=torch.float32))


@pytest.mark.parametrize(("heads", "width"), [(4, 128), (6, 64), (8, 8), (8, 12), (8, 16)])
@pytest.mark.parametrize("variant", ["dense", "displacement-table"])
def test_blocks_of_the_rule(variant, heads, width):
    """C = 512, 384, 64, 96 and 128; with fewer pairs in a block where heads are wide."""
    check(make_batch(variant, [5, 2], heads=heads, width=width, dtype=torch.float32), of_the_rule)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("variant", ["dense", "table-shared", "projected", "displacement-table"])
def test_half_precision(variant, dtype):
    check(make_batch(variant, [5, 9], heads=2, width=8).to(dtype))


@pytest.mark.parametrize("missing", ["weight_b", "table_b"])
def test_one_shared_weight_or_table(missing):
    batch = make_batch("displacement-table", [4, 9], width=8, dtype=torch.float32)
    check(replace(batch, pair=replace(batch.pair, **{missing: None})))


@pytest.mark.parametrize("hidden", [1, 16, 40])
def test_numbers_of_features(hidden):
    batch = make_batch("displacement", [9, 3], width=8, dtype=torch.float32)
    v1, weight = torch.randn(3, hidden), torch.randn(hidden, 16)
    check(replace(batch, pair=replace(batch.pair, v1=v1, weight_a=weight, weight_b=weight.flip(0))))


@pytest.mark.parametrize("form", ["table", "displacement-table"])
def test_table_with_many_rows(form):
    """More rows than a matrix product takes: row 0 for most pairs, one row for each of the others."""
    batch = make_batch(form, [18, 9], width=8, dtype=torch.float32)
    index = torch.zeros_like(batch.pair.index, dtype=torch.int16)
    bonded = torch.randperm(index.shape[0])[:30]
    index[bonded] = torch.arange(1, 31, dtype=torch.int16)
    tables = {"table_a": torch.randn(101, 16), "table_b": torch.randn(101, 16)}
    check(replace(batch, pair=replace(batch.pair, index=index, **tables)), exclude_self=True)
    check(replace(batch, pair=replace(batch.pair, index=index, **tables | {"table_b": None})))


@pytest.mark.parametrize("variant", ["dense", "table-shared", "projected", "displacement-table"])
def test_every_gradient_alone(variant):
    """What is not asked for is not computed, and does not change what is."""
    batch = make_batch(variant, [9], width=8, dtype=torch.float32, bias=True)
    cotangent = torch.randn_like(batch.query)
    with configs.override(small_blocks):
        _, together = on_device(batch).gradients("triton", on_device(cotangent))
        for name in together:
            given = on_device(batch)
            leaf = given.leaves()[name].detach().requires_grad_()
            out = given.with_leaves({name: leaf}).run("triton")
            (alone,) = torch.autograd.grad(out, leaf, on_device(cotangent))
            torch.testing.assert_close(alone, together[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("variant", ["dense", "table", "projected", "displacement-table-shared"])
def test_default_blocks(variant):
    batch = make_batch(variant, [20], heads=2, width=8, dtype=torch.float32)
    torch.testing.assert_close(on_device(batch).run("triton").cpu(), batch.run("reference"), atol=2e-5, rtol=2e-5)
