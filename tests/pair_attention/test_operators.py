"""The operators keep torch.library's contract: schema, fakes, autograd registration, AOT dispatch, dynamic shapes."""

from __future__ import annotations

import pytest
import torch

from ditkernels.layout import Layout
from ditkernels.pair_attention.descriptors import FORMS, tensors
from tests.pair_attention.cases import make_batch

VARIANTS = ("dense", "dense-shared", "table", "projected-shared", "displacement", "displacement-table")


def operator(form: str, suffix: str = ""):
    return getattr(torch.ops.ditkernels, f"pair_attention_{form}{suffix}").default


def forward_arguments(batch, impl):
    batch = batch.requires_grad()
    layout = Layout.ragged(batch.cu_seqlens, batch.query.shape[0])
    places = (layout.offsets, layout.lengths, layout.pair_offsets, layout.pair_stride)
    return (batch.query, batch.key, batch.value, *tensors(batch.pair), *places, batch.mask, batch.bias, 0.6, True, impl)


@pytest.mark.parametrize("variant", VARIANTS)
def test_opcheck_forward(op_impl, variant):
    batch = make_batch(variant, [2, 3], mask=True, bias=True)
    results = torch.library.opcheck(operator(batch.pair.form), forward_arguments(batch, op_impl))
    assert set(results.values()) == {"SUCCESS"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_opcheck_backward(op_impl, variant):
    batch = make_batch(variant, [2, 3], mask=True, bias=True)
    q, k, v, *rest, impl = forward_arguments(batch, op_impl)
    out, lse = operator(batch.pair.form)(q, k, v, *rest, impl)
    needs = [x is not None and x.requires_grad for x in tensors(batch.requires_grad().pair)] + [True]
    grad_out = torch.randn_like(out).requires_grad_()
    arguments = (grad_out, q, k, v, out.detach(), lse, *rest, needs, impl)
    results = torch.library.opcheck(operator(batch.pair.form, "_backward"), arguments)
    assert set(results.values()) == {"SUCCESS"}


def test_opcheck_padded_layout(op_impl):
    batch = make_batch("table", [4, 4])
    layout = Layout.padded(2, 4, torch.tensor([3, 4]), torch.device("cpu"))
    places = (layout.offsets, layout.lengths, layout.pair_offsets, layout.pair_stride)
    batch = batch.requires_grad()
    arguments = (batch.query, batch.key, batch.value, *tensors(batch.pair), *places, None, None, 0.6, False, op_impl)
    results = torch.library.opcheck(operator("table"), arguments)
    assert set(results.values()) == {"SUCCESS"}


def test_every_form_has_three_operators():
    for form in FORMS:
        for suffix in ("", "_backward", "_double_backward"):
            assert operator(form, suffix)._schema.name == f"ditkernels::pair_attention_{form}{suffix}"


def test_lse_is_the_logarithm_of_the_denominator(op_impl):
    batch = make_batch("dense", [3], heads=1, width=2)
    arguments = list(forward_arguments(batch, op_impl))
    arguments[-3:-1] = 1.0, False
    _, lse = operator("dense")(*arguments)
    logits = torch.einsum("ic,jc,ijc->ij", batch.query[:, 0], batch.key[:, 0], batch.pair.a.reshape(3, 3, 2))
    torch.testing.assert_close(lse[:, 0], logits.logsumexp(1))
    assert not lse.requires_grad
