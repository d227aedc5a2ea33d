"""Back-ends and uninitialized memory for the tests of pair attention."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ditkernels import _native
from ditkernels.attention.registration import autograd_in_kernel
from ditkernels.pair_attention.impl import BACKENDS, reference


@pytest.fixture(autouse=True)
def poisoned_empty():
    """Every uninitialized tensor holds NaN, so that output which nobody wrote shows."""
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.utils.deterministic.fill_uninitialized_memory = before[1]


@pytest.fixture
def mirror(monkeypatch) -> str:
    """A back-end made of the reference: it shows what the operators do where there are no kernels."""

    def forward(form, q, k, v, pair, *rest):
        out, lse = reference.attention(form, q, k, v, pair, *rest)
        return out.contiguous(), lse

    def backward(form, grad_out, q, k, v, out, lse, pair, *rest):
        *layout, mask, bias, scale, exclude_self, needs = rest
        with autograd_in_kernel():
            leaves = [x.detach().requires_grad_() if need else x for x, need in zip((*pair, bias), needs)]
            q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
            out, _ = reference.attention(
                form, q, k, v, tuple(leaves[:-1]), *layout, mask, leaves[-1], scale, exclude_self
            )
            wanted = [x for x, need in zip(leaves, needs) if need]
            dq, dk, dv, *grads = (g.contiguous() for g in torch.autograd.grad(out, [q, k, v, *wanted], grad_out))
        *d_pair, d_bias = [grads.pop(0) if need else None for need in needs]
        return dq, dk, dv, tuple(d_pair), d_bias

    monkeypatch.setitem(
        BACKENDS, "mirror", SimpleNamespace(unsupported=lambda *_: None, forward=forward, backward=backward)
    )
    return "mirror"


# Behind the operators runs the native back-end, or the mirror where the library was not built.
OPERATORS = "cpu" if _native.available else "mirror"


@pytest.fixture(params=["reference", OPERATORS])
def impl(request) -> str:
    """Every implementation."""
    return request.getfixturevalue("mirror") if request.param == "mirror" else request.param


@pytest.fixture(params=[OPERATORS])
def op_impl(request) -> str:
    """What runs behind the operators."""
    return request.getfixturevalue("mirror") if request.param == "mirror" else request.param
