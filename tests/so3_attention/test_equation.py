"""Every implementation computes the equation, for all irreps, radial weights and options, in float64."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from ditkernels.so3 import Irreps
from tests.so3_attention.cases import FORMS, IRREPS, VARIANTS, make_batch
from tests.so3_attention.equation import coupled, equation

OPTIONS = {
    "mask": {"mask": True},
    "bias": {"bias": True},
    "cutoff": {"cutoff": True},
    "all": {"mask": True, "bias": True, "cutoff": True},
}


def test_the_equation_has_the_known_numbers_of_paths():
    for qk, values, outputs, degrees, count in IRREPS.values():
        assert len(coupled(values, outputs, degrees)) == count, (qk, values, outputs, degrees)


@pytest.mark.parametrize(("irreps", "radial"), [*VARIANTS, *product(IRREPS, ("dense", "bernstein-scaled"))])
def test_output_is_the_equation(impl, irreps, radial):
    batch = make_batch(irreps, radial, [3, 0, 5, 1])
    torch.testing.assert_close(batch.run(impl), equation(batch))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_options(impl, irreps, radial, options):
    batch = make_batch(irreps, radial, [3, 0, 4, 1], **OPTIONS[options])
    torch.testing.assert_close(batch.run(impl), equation(batch))


@pytest.mark.parametrize(("irreps", "radial"), VARIANTS)
def test_scale_and_exclude_self(impl, irreps, radial):
    batch = make_batch(irreps, radial, [4, 4, 2], bias=True)
    expected = equation(batch, scale=0.7, exclude_self=True)
    torch.testing.assert_close(batch.run(impl, scale=0.7, exclude_self=True), expected)


@pytest.mark.parametrize(("heads", "width"), [(1, 1), (1, 8), (3, 5), (4, 2)])
def test_heads(impl, heads, width):
    batch = make_batch("unlabelled-2", "bernstein-scaled", [3, 5], heads, width, bias=True)
    torch.testing.assert_close(batch.run(impl), equation(batch))


@pytest.mark.parametrize(("irreps", "radial"), VARIANTS)
def test_gradients_are_those_of_the_equation(impl, irreps, radial):
    batch = make_batch(irreps, radial, [4, 1, 5], heads=2, width=4, mask=True, bias=True, cutoff=True).requires_grad()
    cotangent, leaves = batch.cotangent(), batch.leaves()
    options = {"allow_unused": True, "materialize_grads": True}
    expected = torch.autograd.grad(equation(batch), list(leaves.values()), cotangent, **options)
    _, found = batch.gradients(impl, cotangent)
    for name, gradient in zip(leaves, expected, strict=True):
        torch.testing.assert_close(found[name], gradient, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize(("irreps", "radial"), [*FORMS, ("unlabelled-2", "gaussian")])
def test_181_atoms(op_impl, irreps, radial):
    """The largest molecule of the data sets, beside a small one, against the reference."""
    batch = make_batch(irreps, radial, [181, 2], heads=1, width=2)
    cotangent = batch.cotangent()
    out, gradients = batch.gradients(op_impl, cotangent)
    expected_out, expected = batch.gradients("reference", cotangent)
    torch.testing.assert_close(out, expected_out)
    for name in expected:
        torch.testing.assert_close(gradients[name], expected[name], msg=lambda m, name=name: f"{name}: {m}")


def test_values_and_outputs_are_like_queries_by_default(impl):
    batch = make_batch("parity-1", "dense", [4])
    torch.testing.assert_close(batch.run(impl, irreps_v=None, irreps_out=None), equation(batch))


def test_irreps_are_given_as_text_or_as_irreps(impl):
    batch = make_batch("independent", "dense", [4])
    lists = dict(zip(("irreps_qk", "irreps_v", "irreps_out"), map(Irreps, batch.irreps)))
    assert torch.equal(batch.run(impl, **lists), batch.run(impl))


def test_irreps_without_a_path(impl):
    """From 0- and 1- by degrees 0 and 1 there is no way to 0+ but one from 1-, and none to 2-."""
    batch = make_batch("natural-1", "dense", [3])
    batch = replace(batch, irreps=("0+ 1-", "0- 1-", "2- 0+"), path_weight=batch.path_weight[:1])
    out, gradients = batch.gradients(impl, torch.ones(3, 6, 2, 3, dtype=torch.float64))
    torch.testing.assert_close(out, equation(batch))
    assert (out[:, :5] == 0).all() and (out[:, 5:] != 0).all()
    assert (gradients["value"][:, :1] == 0).all() and (gradients["value"][:, 1:] != 0).all()


def test_third_derivative_of_the_reference():
    batch = make_batch("natural-2", "bernstein-scaled", [3], bias=True).requires_grad()
    first = torch.autograd.grad(batch.run("reference").square().sum(), batch.positions, create_graph=True)[0]
    second = torch.autograd.grad(first.square().sum(), batch.positions, create_graph=True)[0]
    third = torch.autograd.grad(second.square().sum(), batch.positions)[0]
    assert third.isfinite().all() and third.abs().max() > 0
