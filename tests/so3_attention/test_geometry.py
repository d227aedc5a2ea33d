"""Places where a direction is missing or doubtful: coincident, collinear and distant atoms."""

from __future__ import annotations

import pytest
import torch

from tests.so3_attention.cases import FORMS, VARIANTS, make_batch
from tests.so3_attention.equation import coupled, equation
from tests.so3_attention.test_empty_rows import second_gradients


def coincident(irreps, radial, **options):
    """Atoms 1 and 3 of the first molecule lie in one place."""
    batch = make_batch(irreps, radial, [4, 2], bias=True, **options)
    batch.positions[3] = batch.positions[1]
    return batch


@pytest.mark.parametrize(("irreps", "radial"), VARIANTS)
def test_coincident_atoms(impl, irreps, radial):
    batch = coincident(irreps, radial)
    assert_like_equation(batch, impl)
    for gradients in second_gradients(batch, impl):
        for name, gradient in gradients.items():
            assert gradient.isfinite().all(), name


@pytest.mark.parametrize(("irreps", "radial"), FORMS)
def test_coincident_atoms_couple_through_scalar_filters_only(impl, irreps, radial):
    """Where only that pair is allowed, the weights of all other paths do nothing."""
    batch = coincident(irreps, radial)
    batch.mask = torch.zeros(20, dtype=torch.bool)
    batch.mask[[1 * 4 + 3, 3 * 4 + 1]] = True
    out = batch.run(impl)
    _, gradients = batch.gradients(impl, torch.ones_like(out))
    _, values, outputs = batch.irreps
    for path, gradient in zip(coupled(values, outputs, 2), gradients["path_weight"], strict=True):
        assert (gradient != 0).all() if path[0] == 0 else (gradient == 0).all(), path
    assert (gradients["positions"] == 0).all()


@pytest.mark.parametrize(("irreps", "radial"), VARIANTS)
def test_all_atoms_in_one_place(impl, irreps, radial):
    batch = make_batch(irreps, radial, [5])
    batch.positions = torch.full_like(batch.positions, -0.3)
    torch.testing.assert_close(batch.run(impl), equation(batch))
    assert (batch.gradients(impl, batch.cotangent())[1]["positions"] == 0).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("irreps", "radial"), FORMS[:2])
def test_two_atoms_on_an_axis(impl, irreps, radial, axis):
    batch = make_batch(irreps, radial, [2])
    batch.positions = torch.zeros(2, 3, dtype=torch.float64)
    batch.positions[1, axis] = -1.3
    assert_like_equation(batch, impl)


def test_collinear_molecule_has_no_output_across_its_line(impl):
    """Scalars in, vectors out: all of them lie on the line."""
    batch = make_batch("first-block", "bernstein", [4])
    line = torch.tensor([1.0, 2.0, -2.0], dtype=torch.float64) / 3
    batch.positions = torch.tensor([0.0, 1.1, 2.5, -0.7], dtype=torch.float64)[:, None] * line
    vectors = batch.run(impl)[:, 1:]
    along = torch.einsum("tmhd,m->thd", vectors, line)
    torch.testing.assert_close(vectors, along.unsqueeze(1) * line[:, None, None])
    assert along.abs().min() > 0


@pytest.mark.parametrize("distance", [1e-7, 1e-3, 1e3, 1e7])
@pytest.mark.parametrize(("irreps", "radial"), [("natural-2", kind) for kind in ("dense", "bernstein", "gaussian")])
def test_near_and_far(impl, irreps, radial, distance):
    batch = make_batch(irreps, radial, [4])
    batch.positions = batch.positions * distance
    assert_like_equation(batch, impl)
    for gradients in second_gradients(batch, impl):
        for name, gradient in gradients.items():
            assert gradient.isfinite().all(), name


@pytest.mark.parametrize("distance", [1e-12, 1e-3, 1e4, 1e12])
@pytest.mark.parametrize("kind", ["bernstein", "gaussian", "bessel"])
def test_near_and_far_in_float32(impl, kind, distance):
    batch = make_batch("natural-2", kind, [4], dtype=torch.float32)
    batch.positions = batch.positions * distance
    out, gradients = batch.gradients(impl, batch.cotangent())
    assert out.isfinite().all()
    for name, gradient in gradients.items():
        assert gradient.isfinite().all(), name
    torch.testing.assert_close(out.double(), equation(batch.to(torch.float64)), atol=2e-5, rtol=2e-5)


def assert_like_equation(batch, impl):
    """The output and the gradient of the positions."""
    cotangent = batch.cotangent()
    out, gradients = batch.gradients(impl, cotangent)
    leaf = batch.requires_grad()
    expected = equation(leaf)
    torch.testing.assert_close(out, expected.detach())
    (gradient,) = torch.autograd.grad(expected, leaf.positions, cotangent, allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(gradients["positions"], gradient)
