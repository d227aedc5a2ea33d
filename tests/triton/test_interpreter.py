"""The interpreter of the tests refuses what a GPU would do in silence."""

from __future__ import annotations

import pytest
import torch
import triton
import triton.language as tl

from tests.support.triton import DEVICE

pytestmark = pytest.mark.skipif(DEVICE != "cpu", reason="kernels run on the GPU")


@triton.jit
def copy_kernel(x, out, first, n, BLOCK: tl.constexpr):
    place = first + tl.arange(0, BLOCK)
    tl.store(out + place - first, tl.load(x + place, mask=place < n, other=0.0), mask=place - first < 4)


@pytest.mark.parametrize("first, n", [(2, 6), (1, 5), (0, 0), (100, 100)])
def test_accesses_inside_of_the_tensors(first, n):
    x, out = torch.randn(10), torch.zeros(4)
    copy_kernel[(1,)](x[:6], out, first, n, BLOCK=8)
    assert torch.equal(out[: n - first], x[first:n])


@pytest.mark.parametrize("first, n", [(2, 7), (-1, 6)])
def test_accesses_beside_a_view_are_refused(first, n):
    """Also where the memory is there, of the tensor that it is a view of."""
    x = torch.randn(12)[3:9]
    with pytest.raises(Exception, match="outside of the tensors of this launch"):
        copy_kernel[(1,)](x, torch.zeros(4), first, n, BLOCK=8)


def test_stores_beside_a_tensor_are_refused():
    with pytest.raises(Exception, match="outside of the tensors of this launch"):
        copy_kernel[(1,)](torch.randn(6), torch.zeros(8)[:3], 0, 6, BLOCK=8)
