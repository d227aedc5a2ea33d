"""Uninitialized memory and back-ends for the tests of the attention operators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import torch

from ditkernels.attention.registration import autograd_in_kernel


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Every uninitialized tensor holds NaN, so that output which nobody wrote shows."""
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.utils.deterministic.fill_uninitialized_memory = before[1]


def mirror_of(reference: ModuleType) -> SimpleNamespace:
    """A back-end made of an operator's reference: it shows what the operators do where there are no kernels."""

    def forward(form, q, k, v, fields, *rest):
        out, lse = reference.attention(form, q, k, v, fields, *rest)
        return out.contiguous(), lse

    def backward(form, grad_out, q, k, v, out, lse, fields, *rest):
        *layout, mask, bias = rest[:6]
        *statics, needs = rest[6:]
        with autograd_in_kernel():
            leaves = [x.detach().requires_grad_() if need else x for x, need in zip((*fields, bias), needs)]
            q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
            out, _ = reference.attention(form, q, k, v, tuple(leaves[:-1]), *layout, mask, leaves[-1], *statics)
            wanted = [q, k, v, *(x for x, need in zip(leaves, needs) if need)]
            options = {"allow_unused": True, "materialize_grads": True}  # a field that no path reads has gradient 0
            dq, dk, dv, *grads = (g.contiguous() for g in torch.autograd.grad(out, wanted, grad_out, **options))
        *d_fields, d_bias = [grads.pop(0) if need else None for need in needs]
        return dq, dk, dv, tuple(d_fields), d_bias

    return SimpleNamespace(unsupported=lambda *_: None, forward=forward, backward=backward)
