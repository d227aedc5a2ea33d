"""Dense layers and the gated MLP of features, native and in plain PyTorch, against the layers of ditkernels.nn."""

from __future__ import annotations

import pytest
import torch

from ditkernels import _native
from ditkernels.atomwise import Dense, GatedMLP
from ditkernels.nn import EquivariantGatedMLP, EquivariantLinear
from ditkernels.so3 import Irreps

LISTS = ("0+", "0+ 1-", "1- 0+ 2+", "0+ 1+ 0- 1-")
TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-14}


def dense(layer: EquivariantLinear) -> Dense:
    return Dense(layer.weight, layer.bias, tuple(irrep.dim for irrep in layer.irreps))


def linear(irreps: Irreps, inputs: int, outputs: int, dtype: torch.dtype) -> EquivariantLinear:
    layer = EquivariantLinear(irreps, inputs, outputs).to(dtype)
    torch.nn.init.normal_(layer.bias)
    return layer


def close(found, layer, x, dtype, bias=True):
    """Against the layer in float64."""
    with torch.no_grad():
        layer = layer.double()
        if not bias:
            layer.bias.zero_()
        expected = layer(x.double())
    assert (found - expected).abs().max() <= TOLERANCE[dtype] * expected.abs().max()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (5, 33), (48, 16), (33, 1050), (256, 64)])
@pytest.mark.parametrize("tokens", [1, 7, 48, 101])
@pytest.mark.parametrize("text", LISTS)
def test_dense(path, text, tokens, inputs, outputs, dtype):
    irreps = Irreps(text)
    layer, x = linear(irreps, inputs, outputs, dtype), torch.randn(tokens, irreps.dim, inputs, dtype=dtype)
    out = torch.full((tokens, irreps.dim, outputs), torch.nan, dtype=dtype)
    assert dense(layer)(x, out) is out
    close(out, layer, x, dtype, bias=False)


def test_atoms_of_a_dense_layer_may_lie_apart(path):
    """As columns of a table do; what lies between them stays."""
    layer, whole = linear(Irreps("0+"), 12, 20, torch.float32), torch.randn(9, 40)
    x, table = whole[:, 7:19].unsqueeze(1), torch.zeros(9, 50)
    dense(layer)(x, table[:, 11:31].unsqueeze(1), with_bias=True)
    close(table[:, 11:31].unsqueeze(1), layer, x, torch.float32)
    assert not table[:, :11].any() and not table[:, 31:].any()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("width", "hidden"), [(1, 1), (5, 13), (16, 64), (32, 130)])
@pytest.mark.parametrize("tokens", [1, 8, 100])
@pytest.mark.parametrize("text", LISTS)
def test_gated_mlp(path, text, tokens, width, hidden, dtype):
    irreps = Irreps(text)
    layer = EquivariantGatedMLP(irreps, width, hidden).to(dtype)
    torch.nn.init.normal_(layer.up.bias)
    x = torch.randn(tokens, irreps.dim, width, dtype=dtype)
    out = torch.full_like(x, torch.nan)
    mlp = GatedMLP(dense(layer.up), dense(layer.down), [str(irrep) for irrep in irreps].index("0+"))
    assert mlp(x, out) is out
    torch.nn.init.zeros_(layer.down.bias)
    close(out, layer, x, dtype)


def test_an_atom_does_not_depend_on_the_others():
    """Bit for bit: neither on which they are nor on their number, and NaN stays with its atom."""
    irreps = Irreps("0+ 1-")
    layer, x = EquivariantGatedMLP(irreps, 24, 96), torch.randn(131, irreps.dim, 24)
    mlp = GatedMLP(dense(layer.up), dense(layer.down))
    if not _native.available:
        pytest.skip(str(_native.reason))
    together = mlp(x, torch.empty_like(x))
    x[5] = torch.nan
    assert torch.equal(mlp(x, torch.empty_like(x))[6:], together[6:])
    for count in (1, 3, 50):
        some = x[60 : 60 + count].contiguous()
        assert torch.equal(mlp(some, torch.empty_like(some)), together[60 : 60 + count])


def test_the_bias_is_for_scalars_alone(path):
    layer = linear(Irreps("0+ 1-"), 8, 8, torch.float32)
    with pytest.raises(ValueError, match="4 components"):
        dense(layer)(torch.randn(3, 4, 8), torch.empty(3, 4, 8), with_bias=True)


def test_tensors_of_the_wrong_shape_are_refused():
    if not _native.available:
        pytest.skip(str(_native.reason))
    layer = linear(Irreps("0+ 1-"), 8, 8, torch.float32)
    with pytest.raises(RuntimeError, match="x must be"):
        dense(layer)(torch.randn(3, 5, 8), torch.empty(3, 5, 8))
    with pytest.raises(RuntimeError, match="weight has"):
        dense(layer)(torch.randn(3, 4, 9), torch.empty(3, 4, 8))
    with pytest.raises(RuntimeError, match="together"):
        dense(layer)(torch.randn(3, 8, 4).transpose(1, 2), torch.empty(3, 4, 8))
