"""The operator equals its composition from e3nn's parts, in float64, with all gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.e3nn_reference import MODES, E3nnAttention, Pairs, from_native, to_native
from ditkernels.so3 import Irreps
from tests.so3_attention.cases import Batch, make_batch

BATCH, SIZE, HEADS, WIDTH = 2, 5, 2, 3


@pytest.fixture(autouse=True)
def double_precision():
    """e3nn stores its constants in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def with_e3nn(batch: Batch, **options) -> torch.Tensor:
    """The output by e3nn, from the operator's own arguments."""
    qk, values, outputs = map(Irreps, batch.irreps)
    pairs, radial = Pairs.of([SIZE] * BATCH), batch.radial
    dense = radial.form == "dense"
    degrees = (radial.g if dense else radial.weight_g).shape[1]
    attention = E3nnAttention(qk, values, outputs, degrees, HEADS, HEADS * WIDTH, **options)
    if dense:
        a, g = radial.a[pairs.rows], radial.g[pairs.rows]
    else:
        distance = (batch.positions[pairs.senders] - batch.positions[pairs.receivers]).norm(dim=-1)
        scaling = None if radial.index is None else radial.scaling[radial.index.long()[pairs.rows]]
        a, g = attention.project(radial.kind, distance, radial.weight_a, radial.weight_g, radial.cutoff, scaling)
    tokens = (to_native(batch.query, qk), to_native(batch.key, qk), to_native(batch.value, values))
    out = attention(*tokens, batch.positions, batch.path_weight, a, g, pairs)
    return from_native(out, outputs, HEADS)


def check(impl: str, irreps: str, radial: str, **options) -> None:
    batch = make_batch(irreps, radial, [SIZE] * BATCH, HEADS, WIDTH).requires_grad()
    leaves, cotangent = batch.leaves(), batch.cotangent()
    grads = {"allow_unused": True, "materialize_grads": True}
    expected = with_e3nn(batch, **options)
    wanted = torch.autograd.grad(expected, list(leaves.values()), cotangent, **grads)
    out, found = batch.gradients(impl, cotangent, exclude_self=True)
    torch.testing.assert_close(out, expected.detach(), rtol=0, atol=1e-12)
    for name, gradient in zip(leaves, wanted, strict=True):
        scale = gradient.abs().max().clamp(min=1.0)
        torch.testing.assert_close(found[name] / scale, gradient / scale, rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize("normalization", ["component", "norm"])
@pytest.mark.parametrize(
    ("irreps", "radial"),
    [
        ("natural-1", "dense"),
        ("natural-2", "dense"),
        ("natural-2", "bernstein-scaled"),
        ("parity-1", "bernstein-scaled"),
        ("parity-2", "gaussian"),
        ("unlabelled-1", "dense"),
        ("unlabelled-2", "bessel-scaled"),
        ("first-block", "bernstein"),
    ],
)
def test_output_and_gradients(impl, irreps, radial, normalization):
    check(impl, irreps, radial, normalization=normalization)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_e3nn_computes_the_same(mode):
    batch = make_batch("natural-1", "dense", [SIZE] * BATCH, HEADS, WIDTH)
    expected = batch.run("reference", exclude_self=True)
    torch.testing.assert_close(with_e3nn(batch, mode=mode), expected, rtol=0, atol=1e-12)


def test_a_defect_would_show():
    """Another sign of the positions turns the odd filters round."""
    batch = make_batch("natural-2", "dense", [SIZE] * BATCH, HEADS, WIDTH)
    turned = replace(batch, positions=-batch.positions)
    assert (with_e3nn(turned) - batch.run("reference", exclude_self=True)).abs().max() > 1e-3
