"""The operators keep torch.library's contract: schema, fakes, autograd registration, AOT dispatch, dynamic shapes."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ditkernels.layout import Layout
from ditkernels.so3_attention.descriptors import FORMS, tensors
from ditkernels.so3_attention.spec import join
from tests.so3_attention.cases import FORMS as CASES
from tests.so3_attention.cases import make_batch

VARIANTS = (*CASES, ("first-block", "gaussian-scaled"), ("independent", "dense"), ("unlabelled-2", "bessel"))


def operator(form: str, suffix: str = ""):
    return getattr(torch.ops.ditkernels, f"so3_attention_{form}{suffix}").default


def fields(batch):
    return (batch.positions, batch.path_weight, *tensors(batch.radial))


def forward_arguments(batch, impl, layout=None):
    layout = Layout.ragged(batch.cu_seqlens, batch.query.shape[0]) if layout is None else layout
    places = (layout.offsets, layout.lengths, layout.pair_offsets, layout.pair_stride)
    statics = (0.6, True, join(*batch.irreps), batch.radial.kind, batch.radial.cutoff or 0.0)
    return (batch.query, batch.key, batch.value, *fields(batch), *places, batch.mask, batch.bias, *statics, impl)


def backward_arguments(batch, impl):
    q, k, v, *rest, impl = forward_arguments(batch, impl)
    out, lse = operator(batch.radial.form)(q, k, v, *rest, impl)
    needs = [x is not None and x.requires_grad for x in fields(batch)] + [True]
    return (torch.randn_like(out).requires_grad_(), q, k, v, out.detach(), lse, *rest, needs, impl)


@pytest.mark.parametrize(("irreps", "radial"), CASES)
def test_opcheck_forward(op_impl, irreps, radial):
    batch = make_batch(irreps, radial, [2, 3], mask=True, bias=True).requires_grad()
    results = torch.library.opcheck(operator(batch.radial.form), forward_arguments(batch, op_impl))
    assert set(results.values()) == {"SUCCESS"}


@pytest.mark.parametrize(("irreps", "radial"), CASES)
def test_opcheck_backward(op_impl, irreps, radial):
    batch = make_batch(irreps, radial, [2, 3], mask=True, bias=True).requires_grad()
    results = torch.library.opcheck(operator(batch.radial.form, "_backward"), backward_arguments(batch, op_impl))
    assert set(results.values()) == {"SUCCESS"}


@pytest.mark.parametrize(("irreps", "radial"), CASES)
def test_opcheck_double_backward(op_impl, irreps, radial):
    batch = make_batch(irreps, radial, [2, 3], mask=True, bias=True)
    q, k, v, *rest, _ = forward_arguments(batch, op_impl)
    grad_out = torch.randn_like(batch.cotangent())
    inputs = (q, k, v, *fields(batch), batch.bias)
    floating = [x is not None and x.is_floating_point() for x in inputs]
    cotangents = [torch.randn_like(x) if yes else None for x, yes in zip(inputs, floating, strict=True)]
    arguments = (*cotangents, grad_out, q, k, v, *rest, [True, *floating])
    results = torch.library.opcheck(operator(batch.radial.form, "_double_backward"), arguments)
    assert set(results.values()) == {"SUCCESS"}


def test_opcheck_padded_layout(op_impl):
    batch = make_batch("natural-1", "bernstein-scaled", [4, 4], bias=True).requires_grad()
    layout = Layout.padded(2, 4, torch.tensor([3, 4]), torch.device("cpu"))
    results = torch.library.opcheck(operator("basis"), forward_arguments(batch, op_impl, layout))
    assert set(results.values()) == {"SUCCESS"}


@pytest.mark.parametrize(("irreps", "radial"), VARIANTS)
def test_fake_tensors_have_the_shapes_and_dtypes_of_real_ones(op_impl, irreps, radial):
    for dtype in (torch.float64, torch.bfloat16):
        batch = make_batch(irreps, radial, [2, 3], bias=True).to(dtype).requires_grad()
        for suffix, arguments in (("", forward_arguments), ("_backward", backward_arguments)):
            given = arguments(batch, op_impl)
            op = operator(batch.radial.form, suffix)
            real = op(*given)
            with FakeTensorMode(allow_non_fake_inputs=True):
                fake = op(*given)
            for found, expected in zip(fake, real, strict=True):
                assert (found.shape, found.dtype) == (expected.shape, expected.dtype)


def test_every_form_has_three_operators():
    for form in FORMS:
        for suffix in ("", "_backward", "_double_backward"):
            assert operator(form, suffix)._schema.name == f"ditkernels::so3_attention_{form}{suffix}"


def test_lse_is_the_logarithm_of_the_denominator(op_impl):
    batch = make_batch("natural-1", "dense", [3], heads=1, width=2, bias=True).requires_grad()
    arguments = list(forward_arguments(batch, op_impl))
    scale, exclude_self = len(arguments) - 6, len(arguments) - 5
    arguments[scale], arguments[exclude_self] = 0.9, False
    _, lse = operator("dense")(*arguments)
    a = batch.radial.a[:, [0, 1, 1, 1]].view(3, 3, 4, 2)
    products = torch.einsum("imc,jmc,ijmc->ij", batch.query[:, :, 0], batch.key[:, :, 0], a)
    torch.testing.assert_close(lse[:, 0], (0.9 * products + batch.bias.view(3, 3)).logsumexp(1))
    assert not lse.requires_grad
