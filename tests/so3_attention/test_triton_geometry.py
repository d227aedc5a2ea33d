"""Triton kernels: coincident, close and distant atoms, and the accuracy of the radial functions."""

from __future__ import annotations

import math

import pytest
import torch

from tests.so3_attention.cases import make_batch
from tests.support.triton import needs_triton, on_device

pytestmark = [needs_triton, pytest.mark.usefixtures("large_blocks")]

KINDS = pytest.mark.parametrize("radial", ["bernstein", "gaussian", "bessel"])


def results(batch, cotangent) -> dict[str, torch.Tensor]:
    out, gradients = on_device(batch).gradients("triton", on_device(cotangent))
    return {name: x.cpu() for name, x in {"out": out, **gradients}.items()}


def expected_results(batch, cotangent) -> dict[str, torch.Tensor]:
    out, gradients = batch.to(torch.float64).gradients("reference", cotangent.double())
    return {"out": out, **gradients}


@pytest.mark.parametrize("count", [1, 2, 64, 300])
def test_logarithms_of_binomials(count):
    """And they are made once."""
    from ditkernels.so3_attention.impl.triton.call import _logarithms

    found = _logarithms(count, torch.device("cpu"))
    expected = [math.log2(math.comb(count - 1, k)) for k in range(count)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-11, rtol=0)
    assert _logarithms(count, torch.device("cpu")) is found


@pytest.mark.parametrize("radial", ["dense", "bernstein-scaled", "gaussian", "bessel"])
def test_coincident_atoms(radial):
    """They have no direction, and no gradient comes from it."""
    batch = make_batch("natural-2", radial, [4], heads=1, width=16, dtype=torch.float32)
    batch.positions[3] = batch.positions[1]
    cotangent = batch.cotangent()
    expected = expected_results(batch, cotangent)
    for name, found in results(batch, cotangent).items():
        wanted = expected[name]
        assert (found - wanted).abs().max() <= 2e-5 * wanted.abs().max().clamp(min=1e-3), name


@KINDS
def test_all_atoms_in_one_place(radial):
    batch = make_batch("natural-1", radial, [3], heads=1, width=16, dtype=torch.float32)
    batch.positions = torch.full_like(batch.positions, -0.3)
    cotangent = batch.cotangent()
    found = results(batch, cotangent)
    expected = expected_results(batch, cotangent)["out"]
    assert (found["out"] - expected).abs().max() <= 2e-5 * expected.abs().max()
    assert (found["positions"] == 0).all()


@pytest.mark.parametrize(
    ("distance", "dtype"),
    [*((x, torch.float32) for x in (1e-12, 1e-3, 1e4, 1e12)), *((x, torch.float16) for x in (1e-12, 1e12))],
    ids=str,
)
@KINDS
def test_near_and_far(radial, distance, dtype):
    """Nothing overflows or loses its digits."""
    batch = make_batch("first-block", radial, [4], heads=1, width=16).to(dtype)
    batch.positions = batch.positions * distance
    cotangent = batch.cotangent()
    found = results(batch, cotangent)
    for name, x in found.items():
        assert x.isfinite().all(), name
    if dtype == torch.float32:
        torch.testing.assert_close(
            found["out"].double(), expected_results(batch, cotangent)["out"], atol=2e-5, rtol=2e-5
        )
