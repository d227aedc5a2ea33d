"""The equivariant dense layer: one matrix per irrep, a bias on the true scalar."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from ditkernels.nn import EquivariantLinear
from tests.support.rotations import random_orthogonal, turned

LISTS = ["0+", "0+ 1-", "1-", "0+ 1- 2+", "0+ 1+ 0- 1-", "0+ 1+ 2+ 0- 1- 2-", "0 1 2"]


def layer_of(irreps, inputs=5, outputs=7, **options):
    layer = EquivariantLinear(irreps, inputs, outputs, **options).double()
    if layer.bias is not None:
        torch.nn.init.normal_(layer.bias)
    return layer


def features(irreps, channels=5, *batch):
    return torch.randn(*(batch or (4,)), EquivariantLinear(irreps, 1, 1, bias=False).irreps.dim, channels).double()


def test_values_are_those_of_the_formula():
    layer = layer_of("0+ 1+ 0- 1-")
    x = features("0+ 1+ 0- 1-")
    rows = torch.tensor([0, 1, 1, 1, 2, 3, 3, 3])
    expected = torch.einsum("tmc,moc->tmo", x, layer.weight[rows])
    expected[:, 0] += layer.bias
    assert_close(layer(x), expected)


@pytest.mark.parametrize(
    ("irreps", "determinant"), [(irreps, d) for irreps in LISTS for d in (1, -1) if d == 1 or irreps != "0 1 2"]
)
def test_commutes_with_rotations(irreps, determinant):
    layer, x = layer_of(irreps, bias=irreps != "1-"), features(irreps)
    q = random_orthogonal(1, determinant)
    assert_close(layer(turned(x, irreps, q)), turned(layer(x), irreps, q), atol=1e-12, rtol=0)


def test_any_batch_axes():
    layer, x = layer_of("0+ 1-"), features("0+ 1-", 5, 2, 3)
    assert_close(layer(x), layer(x.flatten(0, 1)).unflatten(0, (2, 3)))
    assert layer(x[:0]).shape == (0, 3, 4, 7)


def test_gradients():
    layer, x = layer_of("0+ 1-", 2, 3), features("0+ 1-", 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


def test_initial_weights_have_the_variance_of_a_lecun_normal():
    layer = EquivariantLinear("0+ 1-", 256, 256)
    assert abs(layer.weight.var().item() * 256 - 1) < 0.02
    assert layer.weight.abs().max() <= 2 / 0.8796 / 16 and (layer.bias == 0).all()


@pytest.mark.parametrize("irreps", ["1-", "0- 1-", "1 2"])
def test_a_bias_needs_a_true_scalar(irreps):
    with pytest.raises(ValueError, match="bias must be False for irreps without a true scalar"):
        EquivariantLinear(irreps, 4, 4)


@pytest.mark.parametrize("shape", [(3, 3, 5), (3, 4, 6), (5,)])
def test_wrong_shape_is_named(shape):
    with pytest.raises(ValueError, match=r"x must have shape \(\.\.\., 4, 5\) for irreps 0\+ 1-"):
        EquivariantLinear("0+ 1-", 5, 5)(torch.zeros(shape))


def test_compiles_to_the_same_numbers():
    layer, x = layer_of("0+ 1-"), features("0+ 1-")
    assert_close(torch.compile(layer, backend="aot_eager", fullgraph=True)(x), layer(x))
