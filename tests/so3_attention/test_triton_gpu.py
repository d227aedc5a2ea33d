"""What only a GPU shows of the Triton kernels: rounding of every dtype, equal bits in twenty runs, graphs, compilers.

Sizes are those of drugs, blocks those of the rule.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ditkernels import DenseRadial, RadialBasis, so3_attention
from ditkernels.so3_attention import select_impl
from ditkernels.so3_attention.descriptors import FORMS
from tests.so3_attention.cases import BASES, IRREPS, VARIANTS, Batch, make_batch
from tests.so3_attention.equation import equation
from tests.support.triton import needs_triton, on_device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    needs_triton,
]

SIZES = (1, 15, 16, 17, 0, 33)
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
CASES = [("natural-2", "dense"), ("parity-1", "bernstein-scaled"), ("parity-2", "bernstein"), ("natural-2", "gaussian")]


def drugs(
    irreps: str, radial: str, dtype: torch.dtype = torch.float32, sizes=SIZES, count: int = 64, **options
) -> Batch:
    """Atoms on a disturbed lattice, weights of order 1: no pair and no sender is most of any sum."""
    batch = make_batch(irreps, radial, sizes, heads=4, width=32, **options)
    sites = 1.5 * torch.cartesian_prod(*[torch.arange(5.0, dtype=torch.float64)] * 3)
    positions = torch.cat([sites[torch.randperm(len(sites))[:n]] for n in batch.sizes])
    batch = replace(batch, positions=positions + 0.2 * torch.randn_like(positions))
    if isinstance(batch.radial, RadialBasis):
        new = {
            name: torch.randn(count, *getattr(batch.radial, name).shape[1:], dtype=torch.float64) / count**0.5
            for name in ("weight_a", "weight_g")
        }
        if batch.radial.scaling is not None:
            new["scaling"] = torch.randn(*batch.radial.scaling.shape[:2], count, dtype=torch.float64)
        batch = replace(batch, radial=replace(batch.radial, **new))
    return batch.to(dtype)


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Relative error in the root mean square."""
    return float((found.detach().cpu().double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("form", FORMS)
def test_auto_takes_these_kernels(form):
    for dtype in DTYPES:
        assert select_impl("cuda", dtype, form) == "triton"
    assert select_impl("cuda", torch.float64, form) == "reference"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("irreps", "radial"), CASES)
def test_rounding_is_at_most_twice_that_of_plain_pytorch(irreps, radial, dtype):
    # The plain formula of 64 Bernstein functions overflows.
    given = drugs(irreps, radial, dtype, (12, 16, 9), count=16, bias=True)
    cotangent = given.cotangent()
    exact_out, exact = given.to(torch.float64).gradients("reference", cotangent.double(), exclude_self=True)
    plain = given.requires_grad()
    leaves, plain_out = plain.leaves(), equation(plain, exclude_self=True)
    plain_gradients = dict(zip(leaves, torch.autograd.grad(plain_out, list(leaves.values()), cotangent), strict=True))
    out, found = on_device(given).gradients("triton", on_device(cotangent), exclude_self=True)
    assert out.dtype == dtype
    assert error(out, exact_out) <= 2 * error(plain_out, exact_out)
    for name in exact:
        assert found[name].dtype == leaves[name].dtype
        assert error(found[name], exact[name]) <= 2 * error(plain_gradients[name], exact[name]), name


@pytest.mark.parametrize("dtype, limit", [(torch.bfloat16, 1.6e-2), (torch.float16, 2e-3)], ids=str)
@pytest.mark.parametrize("irreps", ["natural-2", "parity-1"])
def test_half_precision_with_64_functions(irreps, dtype, limit):
    """About four units of rounding."""
    given = drugs(irreps, "bernstein-scaled", dtype, (12, 16, 9), bias=True)
    cotangent = given.cotangent()
    exact_out, exact = given.to(torch.float64).gradients("reference", cotangent.double(), exclude_self=True)
    out, found = on_device(given).gradients("triton", on_device(cotangent), exclude_self=True)
    assert error(out, exact_out) <= limit
    for name in exact:
        assert error(found[name], exact[name]) <= limit, name


@pytest.mark.parametrize(("irreps", "radial"), VARIANTS)
def test_every_variant_with_mask_bias_and_no_self_pairs(irreps, radial):
    count = BASES[radial.partition("-")[0]][0] if radial != "dense" else 0
    batch = drugs(irreps, radial, count=count, mask=True, bias=True)
    assert_like_reference(batch, exclude_self=True)


@pytest.mark.parametrize("heads,width", [(3, 4), (5, 12), (8, 16), (3, 24), (6, 64), (1, 128)])
@pytest.mark.parametrize("radial", ["dense", "bernstein-scaled"])
def test_head_widths(radial, heads, width):
    assert_like_reference(make_batch("natural-1", radial, [33, 9, 16], heads, width, torch.float32, bias=True))


@pytest.mark.parametrize("kind", BASES)
def test_many_radial_functions(kind):
    assert_like_reference(drugs("natural-1", kind, count=100))


def assert_like_reference(batch, **options):
    """Output and all gradients within rounding of float64, relative to the largest element of each."""
    cotangent = batch.cotangent()
    expected, wanted = batch.to(torch.float64).gradients("reference", cotangent.double(), **options)
    out, found = on_device(batch).gradients("triton", on_device(cotangent), **options)
    for name, x, exact in [("out", out, expected), *((n, found[n], wanted[n]) for n in wanted)]:
        assert (x.cpu() - exact).abs().max() <= 2e-5 * exact.abs().max().clamp(min=1e-3), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("irreps", "radial"), CASES[:2])
def test_twenty_runs_have_equal_bits(irreps, radial, dtype):
    batch = on_device(drugs(irreps, radial, dtype, mask=True, bias=True))
    cotangent = on_device(batch.cotangent())
    out, found = batch.gradients("triton", cotangent)
    for _ in range(19):
        again, gradients = batch.gradients("triton", cotangent)
        assert torch.equal(again, out)
        for name in found:
            assert torch.equal(gradients[name], found[name]), name


@pytest.mark.parametrize("radial", ["dense", "bernstein-scaled"])
def test_forward_and_backward_in_a_cuda_graph(radial):
    """New values in the same memory are computed with; nothing waits for the device."""
    batch = on_device(drugs("natural-1", radial)).requires_grad()
    leaves, cotangent = list(batch.leaves().values()), on_device(batch.cotangent())

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


def test_a_graph_captured_before_the_table_of_binomials_is_there():
    """It makes the table for itself: nothing is copied from the host, and nothing is kept of it."""
    from ditkernels.so3_attention.impl.triton import call

    batch = on_device(drugs("natural-1", "bernstein-scaled"))
    expected = batch.run("triton")  # compiles the kernels
    call._kept.clear()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = batch.run("triton")
    assert not call._kept
    graph.replay()
    assert torch.equal(found, expected)


def test_a_graph_that_would_have_to_wait_is_refused():
    """A ragged batch without any pair tensor: only the device knows the number of pairs, and the backward needs it."""
    batch = on_device(drugs("natural-1", "bernstein")).requires_grad()
    leaves, cotangent = list(batch.leaves().values()), on_device(batch.cotangent())
    torch.autograd.grad(batch.run("triton"), leaves, cotangent)
    graph = torch.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="pass mask or index, or use a padded batch"), torch.cuda.graph(graph):
        torch.autograd.grad(batch.run("triton"), leaves, cotangent)


@pytest.mark.parametrize("radial", ["dense", "bernstein-scaled"])
def test_inductor_with_dynamic_shapes(radial):
    torch._dynamo.reset()
    qk, values, outputs, *_ = IRREPS["natural-1"]

    def loss(query, positions, path_weight, radial, cu_seqlens):
        tokens = (query, query, query, positions, path_weight, radial)
        irreps = {"irreps_qk": qk, "irreps_v": values, "irreps_out": outputs}
        out = so3_attention(*tokens, **irreps, cu_seqlens=cu_seqlens, impl="triton")
        return (torch.relu(out) * 2).square().sum()

    compiled = torch.compile(loss, fullgraph=True, dynamic=True)
    for sizes in ([4, 33, 6], [5, 20, 9, 1]):
        batch = on_device(drugs("natural-1", radial, sizes=sizes)).requires_grad()
        leaves = [batch.query, batch.positions, batch.path_weight]
        given = (*leaves, batch.radial, batch.cu_seqlens)
        found, expected = (torch.autograd.grad(function(*given), leaves) for function in (compiled, loss))
        for gradient, right in zip(found, expected, strict=True):
            torch.testing.assert_close(gradient, right)


def test_rows_beyond_two_to_the_31():
    """Pair tensors of 2^31 elements and more: the last molecule is computed like one that is alone."""
    molecules, atoms, heads, width = 66, 256, 8, 64
    query = torch.randn(molecules, atoms, 1, heads, width, device="cuda", dtype=torch.bfloat16)
    positions = torch.randn(molecules, atoms, 3, device="cuda")
    path_weight = torch.randn(1, heads * width, device="cuda", dtype=torch.bfloat16)
    a = torch.randn(molecules, atoms, atoms, 1, heads * width, device="cuda", dtype=torch.bfloat16)
    assert a[:-1].numel() > 2**31

    def attend(query, positions, a):
        return so3_attention(
            query, query, query, positions, path_weight, DenseRadial(a, a), irreps_qk="0", impl="triton"
        )

    last = (x[-1:].contiguous() for x in (query, positions, a))
    assert torch.equal(attend(query, positions, a)[-1:], attend(*last))


def test_forms_that_hold_the_same_weights_agree():
    """A basis, and its projections written out."""
    from ditkernels.so3 import radial_basis

    batch = on_device(drugs("natural-2", "gaussian"))
    molecules = batch.positions.split(batch.sizes)
    distance = torch.cat([(r[None, :] - r[:, None]).norm(dim=-1).flatten() for r in molecules])
    weights = batch.radial.weight_a, batch.radial.weight_g
    rho = radial_basis("gaussian", distance, weights[0].shape[0], batch.radial.cutoff)
    dense = DenseRadial(*(torch.einsum("pk,kxc->pxc", rho, weight) for weight in weights))
    torch.testing.assert_close(replace(batch, radial=dense).run("triton"), batch.run("triton"), atol=1e-4, rtol=1e-4)
