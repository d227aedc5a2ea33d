"""The operators with Triton kernels behind them: torch.library's contract, second derivatives, vmap, torch.compile."""

from __future__ import annotations

import pytest
import torch

from tests.so3_attention.cases import make_batch
from tests.so3_attention.test_compile import compiled
from tests.so3_attention.test_operators import backward_arguments, forward_arguments, operator
from tests.support.triton import needs_triton, on_device

pytestmark = [needs_triton, pytest.mark.usefixtures("large_blocks")]

FORMS = pytest.mark.parametrize("radial", ["dense", "bernstein-scaled"])


def small(radial: str, sizes: list[int], **options):
    return on_device(make_batch("first-block", radial, sizes, heads=1, width=16, dtype=torch.float32, **options))


@FORMS
def test_opcheck(radial):
    batch = small(radial, [2, 3], mask=True, bias=True).requires_grad()
    for suffix, arguments in (("", forward_arguments), ("_backward", backward_arguments)):
        given = [on_device(x) for x in arguments(batch, "triton")]
        results = torch.library.opcheck(operator(batch.radial.form, suffix), given)
        assert set(results.values()) == {"SUCCESS"}, (suffix, results)


@FORMS
def test_second_derivatives(radial):
    batch = small(radial, [3, 2], bias=True)

    def second(impl):
        given = batch.requires_grad()
        leaves = list(given.leaves().values())
        first = torch.autograd.grad(given.run(impl).sin().sum(), leaves, create_graph=True)
        return torch.autograd.grad(sum(x.square().sum() for x in first), leaves)

    for found, expected in zip(second("triton"), second("reference"), strict=True):
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_vmap_over_samples():
    """Three samples of the same two molecules."""
    batch = small("bernstein-scaled", [3, 4])

    def attend(positions):
        return batch.with_leaves({"positions": positions}).run("triton")

    samples = torch.stack([factor * batch.positions for factor in (1.0, 0.5, 2.0)])
    found = torch.func.vmap(attend)(samples)
    torch.testing.assert_close(found, torch.stack([attend(positions) for positions in samples]))


@FORMS
def test_one_graph_and_the_same_gradients(radial):
    torch._dynamo.reset()
    batch = small(radial, [4, 2, 3], mask=True, bias=True).requires_grad()
    function = compiled(batch, "triton", "aot_eager")
    leaves, cotangent = list(batch.leaves().values()), on_device(batch.cotangent())
    found = torch.autograd.grad(function(batch.cu_seqlens, batch.mask, *leaves), leaves, cotangent)
    expected = torch.autograd.grad(batch.run("triton"), leaves, cotangent)
    for gradient, right in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, right)
