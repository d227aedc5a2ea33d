"""What only a GPU shows of the Triton kernels: rounding of every dtype, equal bits in twenty runs, graphs, compilers.

Sizes are those of drugs, blocks those of the rule.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ditkernels import DensePair, DisplacementPair, TablePair, pair_attention
from ditkernels.pair_attention import select_impl
from ditkernels.pair_attention.descriptors import FORMS
from tests.pair_attention.cases import VARIANTS, Batch, equation, make_batch
from tests.support.triton import needs_triton, on_device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    needs_triton,
]

SIZES = [1, 15, 16, 17, 0, 44, 65]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Relative error in the root mean square."""
    return float((found.detach().cpu().double() - exact).norm() / exact.norm())


def drugs(variant: str, dtype: torch.dtype = torch.float32, **options) -> Batch:
    return make_batch(variant, SIZES, heads=8, width=32, **options).to(dtype)


@pytest.mark.parametrize("form", FORMS)
def test_auto_takes_these_kernels(form):
    for dtype in DTYPES:
        assert select_impl("cuda", dtype, form) == "triton"
    assert select_impl("cuda", torch.float64, form) == "reference"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_rounding_is_at_most_twice_that_of_plain_pytorch(variant, dtype):
    given = drugs(variant, dtype, bias=True)
    cotangent = torch.randn_like(given.query)
    exact_out, exact = given.to(torch.float64).gradients("reference", cotangent.double())
    plain = given.requires_grad()
    leaves, plain_out = plain.leaves(), equation(plain)
    plain_gradients = dict(zip(leaves, torch.autograd.grad(plain_out, list(leaves.values()), cotangent), strict=True))
    out, found = on_device(given).gradients("triton", on_device(cotangent))
    assert out.dtype == dtype
    assert error(out, exact_out) <= 2 * error(plain_out, exact_out)
    for name in exact:
        assert found[name].dtype == leaves[name].dtype
        assert error(found[name], exact[name]) <= 2 * error(plain_gradients[name], exact[name]), name


@pytest.mark.parametrize("heads,width", [(3, 4), (5, 12), (8, 16), (3, 24), (6, 64), (1, 128)])
@pytest.mark.parametrize("variant", ["dense", "table", "projected", "displacement-table"])
def test_head_widths(variant, heads, width):
    batch = make_batch(variant, [33, 9, 64], heads, width, torch.float32, mask=True, bias=True)
    cotangent = torch.randn_like(batch.query)
    expected, wanted = batch.to(torch.float64).gradients("reference", cotangent.double(), exclude_self=True)
    out, found = on_device(batch).gradients("triton", on_device(cotangent), exclude_self=True)
    for name, x, exact in [("out", out, expected), *((n, found[n], wanted[n]) for n in wanted)]:
        assert (x.cpu() - exact).abs().max() <= 2e-5 * exact.abs().max(), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("variant", ["dense", "table", "projected", "displacement-table"])
def test_twenty_runs_have_equal_bits(variant, dtype):
    batch = on_device(drugs(variant, dtype, mask=True, bias=True))
    cotangent = torch.randn_like(batch.query)
    out, found = batch.gradients("triton", cotangent)
    for _ in range(19):
        again, gradients = batch.gradients("triton", cotangent)
        assert torch.equal(again, out)
        for name in found:
            assert torch.equal(gradients[name], found[name]), name


@pytest.mark.parametrize("variant", ["dense", "table", "projected", "displacement-table"])
def test_many_rows_and_features(variant):
    """A table with one row per bond, and projections of 100 features."""
    batch = make_batch(variant, [44, 100], heads=4, width=32)
    pairs, inner = batch.cu_seqlens.diff().square().sum(), 100
    new = {}
    if "table" in variant:
        index = torch.zeros(int(pairs), dtype=torch.int32)
        bonded = torch.randperm(index.shape[0])[:200]
        index[bonded] = torch.arange(1, 201, dtype=torch.int32)
        new = {"index": index, "table_a": torch.randn(201, 128), "table_b": torch.randn(201, 128)}
    if variant == "projected":
        new["e"] = torch.randn(int(pairs), inner)
    if "displacement" in variant:
        new["v1"] = torch.randn(3, inner)
    if variant in ("projected", "displacement-table"):
        new |= {name: torch.randn(inner, 128) / 10 for name in ("weight_a", "weight_b")}
    batch = replace(batch, pair=replace(batch.pair, **new)).to(torch.float32)
    cotangent = torch.randn_like(batch.query)
    expected, wanted = batch.to(torch.float64).gradients("reference", cotangent.double())
    out, found = on_device(batch).gradients("triton", on_device(cotangent))
    for name, x, exact in [("out", out, expected), *((n, found[n], wanted[n]) for n in wanted)]:
        assert (x.cpu() - exact).abs().max() <= 2e-5 * exact.abs().max(), name


def test_forward_and_backward_in_a_cuda_graph():
    """New values in the same memory are computed with; nothing waits for the device."""
    batch = on_device(drugs("table")).requires_grad()
    leaves, cotangent = list(batch.leaves().values()), torch.randn_like(batch.query)

    def step():
        return torch.autograd.grad(batch.run("triton"), leaves, cotangent)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        for leaf in leaves:
            leaf.copy_(torch.randn_like(leaf))
    graph.replay()
    for found, expected in zip(captured, step(), strict=True):
        assert torch.equal(found, expected)


def test_a_graph_that_would_have_to_wait_is_refused():
    """A ragged batch without any pair tensor: only the device knows the number of pairs, and the backward needs it."""
    batch = on_device(drugs("displacement")).requires_grad()
    leaves, cotangent = list(batch.leaves().values()), torch.randn_like(batch.query)
    torch.autograd.grad(batch.run("triton"), leaves, cotangent)
    graph = torch.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="pass mask or index, or use a padded batch"), torch.cuda.graph(graph):
        torch.autograd.grad(batch.run("triton"), leaves, cotangent)


def test_inductor_with_dynamic_shapes():
    torch._dynamo.reset()

    def loss(query, a, b, cu_seqlens):
        out = pair_attention(query, query, query, DensePair(a, b), cu_seqlens=cu_seqlens, impl="triton")
        return (torch.relu(out) * 2).square().sum()

    compiled = torch.compile(loss, fullgraph=True, dynamic=True)
    for sizes in ([4, 33, 6], [5, 20, 9, 1]):
        batch = on_device(make_batch("dense", sizes, 4, 32, torch.float32))
        leaves = [x.clone().requires_grad_() for x in (batch.query, batch.pair.a, batch.pair.b)]
        found = torch.autograd.grad(compiled(*leaves, batch.cu_seqlens), leaves)
        for gradient, expected in zip(found, torch.autograd.grad(loss(*leaves, batch.cu_seqlens), leaves), strict=True):
            torch.testing.assert_close(gradient, expected)


def test_rows_beyond_two_to_the_31():
    """Pair tensors of 2^31 elements and more: the last molecule is computed like one that is alone."""
    molecules, atoms, heads, width = 66, 256, 8, 64
    query = torch.randn(molecules, atoms, heads, width, device="cuda", dtype=torch.bfloat16)
    a = torch.randn(molecules, atoms, atoms, heads * width, device="cuda", dtype=torch.bfloat16)
    assert a[:-1].numel() > 2**31
    out = pair_attention(query, query, query, DensePair(a), impl="triton")
    last = query[-1:].contiguous()
    assert torch.equal(out[-1:], pair_attention(last, last, last, DensePair(a[-1:].contiguous()), impl="triton"))


def test_forms_that_hold_the_same_modulations_agree():
    """A table, and its rows written out; displacements, and their rows written out."""
    table = on_device(drugs("table"))
    index = table.pair.index.long()
    dense = DensePair(table.pair.table_a[index], table.pair.table_b[index])
    torch.testing.assert_close(replace(table, pair=dense).run("triton"), table.run("triton"), atol=1e-4, rtol=1e-4)
    given = on_device(drugs("displacement-shared"))
    pair: DisplacementPair = given.pair
    molecules = pair.positions.split(SIZES)
    delta = torch.cat([(r[None, :] - r[:, None]).reshape(-1, 3) for r in molecules])
    dense = DensePair(torch.nn.functional.silu(delta @ pair.v1) @ pair.weight_a)
    torch.testing.assert_close(replace(given, pair=dense).run("triton"), given.run("triton"), atol=1e-3, rtol=1e-3)


def test_other_streams_and_tables_of_one_row():
    batch = on_device(drugs("table"))
    pair = TablePair(torch.zeros_like(batch.pair.index), batch.pair.table_a[:1], None)
    batch = replace(batch, pair=pair)
    expected = batch.run("triton")
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        found = batch.run("triton")
    stream.synchronize()
    assert torch.equal(found, expected)
