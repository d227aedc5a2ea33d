"""What the Triton kernels refuse and why, and the smallest and strangest inputs that they take."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from ditkernels import TablePair, pair_attention
from ditkernels.pair_attention.descriptors import FORMS
from ditkernels.pair_attention.impl import triton
from tests.pair_attention.cases import VARIANTS, make_batch
from tests.support.triton import DEVICE, needs_triton, on_device


@needs_triton
@pytest.mark.parametrize("form", FORMS)
def test_what_runs_and_what_is_refused_with_a_remedy(form):
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert triton.unsupported(form, torch.device(DEVICE), dtype) is None
    assert "use float32" in triton.unsupported(form, torch.device(DEVICE), torch.float64)
    assert triton.unsupported(form, torch.device("meta"), torch.float32) is not None


@needs_triton
def test_the_cpu_is_refused_outside_the_interpreter(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(RuntimeError, match=r"impl='triton' cannot run .*need a GPU; move the tensors"):
        make_batch("dense", [3], dtype=torch.float32).run("triton")


def test_without_triton_the_package_works_and_says_what_is_missing():
    code = """
import sys
sys.modules["triton"] = None  # whoever imports it fails
import torch
from ditkernels.pair_attention import select_impl
from ditkernels.pair_attention.impl import triton
print(select_impl("cuda", torch.float32, "dense"), triton.unsupported("dense", torch.device("cuda"), torch.float32))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("reference Triton is not installed; pip install")


@needs_triton
@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("variant", ["table", "displacement-table"])
def test_every_integer_is_an_index(variant, dtype):
    """Rows beyond 127, which a signed byte could not count."""
    batch = make_batch(variant, [5, 3], width=8, dtype=torch.float32)
    index = torch.randint(200, 256, (34,)).to(dtype)
    pair = replace(batch.pair, index=index, table_a=torch.randn(256, 16), table_b=torch.randn(256, 16))
    batch = replace(batch, pair=pair)
    cotangent = torch.randn_like(batch.query)
    expected, wanted = batch.to(torch.float64).gradients("reference", cotangent.double())
    out, found = on_device(batch).gradients("triton", on_device(cotangent))
    assert (out.cpu() - expected).abs().max() < 2e-5 * expected.abs().max()
    for name in ("table_a", "table_b"):
        assert (found[name].cpu() - wanted[name]).abs().max() < 2e-5 * wanted[name].abs().max(), name


@needs_triton
@pytest.mark.parametrize("sizes", [[], [0], [0, 0]], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_no_atoms_at_all(variant, sizes):
    batch = make_batch(variant, sizes, width=8, dtype=torch.float32, bias=True)
    out, found = on_device(batch).gradients("triton", on_device(torch.zeros_like(batch.query)))
    assert out.shape == (0, 2, 8)
    for name, leaf in batch.leaves().items():
        assert found[name].shape == leaf.shape and (found[name] == 0).all(), name


@needs_triton
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_single_atom_that_may_not_see_itself(variant):
    batch = make_batch(variant, [1], width=8, dtype=torch.float32, bias=True)
    out, found = on_device(batch).gradients("triton", on_device(torch.ones_like(batch.query)), exclude_self=True)
    for name, x in {"out": out, **found}.items():
        assert (x == 0).all(), name


@needs_triton
@pytest.mark.usefixtures("small_blocks")
def test_a_table_with_one_row_per_pair():
    batch = make_batch("table", [9], width=8, dtype=torch.float32)
    pair = TablePair(torch.randperm(81), torch.randn(81, 16), torch.randn(81, 16))
    batch = replace(batch, pair=pair)
    cotangent = torch.randn_like(batch.query)
    _, wanted = batch.to(torch.float64).gradients("reference", cotangent.double())
    _, found = on_device(batch).gradients("triton", on_device(cotangent))
    for name in ("table_a", "table_b"):
        assert (found[name].cpu() - wanted[name]).abs().max() < 2e-5 * wanted[name].abs().max(), name


@needs_triton
def test_nan_in_the_query_is_not_hidden():
    batch = make_batch("table", [4], width=8, dtype=torch.float32)
    out = on_device(replace(batch, query=torch.full_like(batch.query, torch.nan))).run("triton")
    assert out.isnan().all()


@needs_triton
def test_large_logits_do_not_overflow():
    batch = make_batch("table", [7], width=8, dtype=torch.float32)
    batch = batch.with_leaves({"query": batch.query * 1000})
    out, found = on_device(batch).gradients("triton", on_device(torch.ones_like(batch.query)))
    assert out.isfinite().all() and all(x.isfinite().all() for x in found.values())


@needs_triton
def test_tokens_and_gradients_may_have_any_strides():
    """A sum's gradient arrives with stride 0."""
    batch = on_device(make_batch("dense", [3, 2], width=8, dtype=torch.float32))
    parts = torch.cat([batch.query, batch.key, batch.value], dim=-1).chunk(3, dim=-1)
    assert not parts[0].is_contiguous()
    out = pair_attention(*parts, batch.pair, cu_seqlens=batch.cu_seqlens, impl="triton")
    assert torch.equal(out, batch.run("triton"))
    leaf = batch.query.clone().requires_grad_()
    (found,) = torch.autograd.grad(replace(batch, query=leaf).run("triton").sum(), leaf)
    _, wanted = batch.gradients("triton", torch.ones_like(out))
    assert torch.equal(found, wanted["query"])


@needs_triton
@pytest.mark.parametrize("variant", ["projected", "displacement"])
def test_no_features_at_all(variant):
    """A projection of nothing is zero, and so are all outputs and gradients."""
    batch = make_batch(variant, [4, 3], width=8, dtype=torch.float32)
    empty = {"weight_a": torch.randn(0, 16), "weight_b": torch.randn(0, 16)}
    empty |= {"e": torch.randn(25, 0)} if variant == "projected" else {"v1": torch.randn(3, 0)}
    batch = on_device(replace(batch, pair=replace(batch.pair, **empty)))
    out, found = batch.gradients("triton", torch.ones_like(batch.query))
    assert (out == 0).all()
    for name, leaf in batch.leaves().items():
        assert found[name].shape == leaf.shape and (found[name] == 0).all(), name
