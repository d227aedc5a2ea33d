"""The steps between matrix products, native and in plain PyTorch, against the layers of ditkernels.nn."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ditkernels import _native
from ditkernels.atomwise import Norm, gated_gelu_, residual_norm_
from ditkernels.nn import EquivariantLayerNorm, modulate_irreps, scale_irreps
from ditkernels.nn.equivariant_gated_mlp import gelu_gate
from ditkernels.so3 import Irreps

LISTS = ("0+", "0+ 1-", "1- 0+ 2+", "0+ 1+ 0- 1-")
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("kind", ["rms", "variance"])
@pytest.mark.parametrize("channels", [1, 5, 8, 33, 256])
@pytest.mark.parametrize("text", LISTS)
def test_residual_norm(path, text, channels, kind, dtype):
    irreps, tokens = Irreps(text), 7
    count = len(irreps)
    state, update = torch.randn(2, tokens, irreps.dim, channels, dtype=dtype)
    bias = torch.randn(channels, dtype=dtype)
    table = torch.randn(3, 5 + (2 * count + 1) * channels, dtype=dtype)
    rows = torch.tensor([0, 2, 2, 1, 0, 1, 2], dtype=torch.int32)
    layer = EquivariantLayerNorm(irreps, scale=kind)
    gate, scale = (
        table[:, 5 + i * count * channels :][:, : count * channels].unflatten(1, (count, channels))[rows]
        for i in (0, 1)
    )
    shift = table[rows, 5 + 2 * count * channels :]

    scalar = irreps.slices[[str(x) for x in irreps].index("0+")]
    with_bias = update.clone()
    with_bias[:, scalar] += bias
    expected = state + scale_irreps(with_bias, gate, irreps)
    expected_out = modulate_irreps(layer(expected), scale, shift, irreps)

    out = torch.full_like(state, torch.nan)
    first = {"gate": 5, "scale": 5 + count * channels, "shift": 5 + 2 * count * channels}
    norm = Norm.of(irreps, kind, 1e-6, layer.eps)
    residual_norm_(state, table, rows, norm, update=update, bias=bias, out=out, **first)
    torch.testing.assert_close(state, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    size = expected_out.abs().max()
    assert (out - expected_out).abs().max() < 10 * TOLERANCE[dtype] * size


def test_without_update_the_state_stays_and_without_out_nothing_is_normed(path):
    state, table, rows = torch.randn(4, 1, 8), torch.randn(4, 24), torch.arange(4, dtype=torch.int32)
    norm, before, out = Norm.of(Irreps("0+"), "rms", 1e-6, 1e-6), state.clone(), torch.empty(4, 1, 8)
    residual_norm_(state, table, rows, norm, scale=8, shift=16, out=out)
    assert torch.equal(state, before)
    expected = F.layer_norm(before[:, 0], (8,), eps=1e-6) * (1 + table[:, 8:16]) + table[:, 16:]
    torch.testing.assert_close(out[:, 0], expected)
    residual_norm_(state, table, rows, norm, update=before, gate=0)
    torch.testing.assert_close(state[:, 0], before[:, 0] * (1 + table[:, :8]))


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("channels", [1, 5, 8, 33])
@pytest.mark.parametrize(("components", "scalar"), [(1, 0), (4, 0), (4, 2)])
def test_gated_gelu(components, scalar, channels, dtype):
    x = 3 * torch.randn(6, components, channels, dtype=dtype)
    x[0, scalar, 0] = 40.0
    x[1, scalar, 0] = -40.0
    bias = torch.randn(channels, dtype=dtype)
    opened = x.clone()
    opened[:, scalar] += bias
    expected = opened * gelu_gate(opened[:, scalar : scalar + 1])
    gated_gelu_(x, bias, scalar)
    torch.testing.assert_close(x, expected, atol=TOLERANCE[dtype], rtol=4 * TOLERANCE[dtype])
    if components == 1:
        torch.testing.assert_close(x, F.gelu(opened, approximate="tanh"), atol=1e-6, rtol=1e-5)


def test_what_reaches_outside_the_table_is_refused():
    if not _native.available:
        pytest.skip(str(_native.reason))
    state, rows = torch.randn(2, 1, 8), torch.tensor([0, 3], dtype=torch.int32)
    norm, out = Norm.of(Irreps("0+"), "rms", 1e-6, 1e-6), torch.empty(2, 1, 8)
    with pytest.raises(RuntimeError, match="rows: 3 of atom 1 is outside the table of 3 rows"):
        residual_norm_(state, torch.randn(3, 16), rows, norm, scale=0, shift=8, out=out)
    with pytest.raises(RuntimeError, match="reach outside the table"):
        residual_norm_(state, torch.randn(4, 16), rows, norm, scale=8, shift=9, out=out)


def test_no_atoms(path):
    empty = torch.empty(0, 1, 8)
    rows = torch.empty(0, dtype=torch.int32)
    residual_norm_(empty, torch.randn(1, 16), rows, Norm.of(Irreps("0+"), "rms", 1e-6, 1e-6), shift=8, out=empty)
    gated_gelu_(empty)
