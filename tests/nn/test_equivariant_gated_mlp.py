"""The equivariant MLP: a gate from the scalars on every component."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from ditkernels.nn import EquivariantGatedMLP
from tests.support.rotations import random_orthogonal, turned


def mlp_of(irreps):
    mlp = EquivariantGatedMLP(irreps, 6, 10).double()
    for layer in (mlp.up, mlp.down):
        torch.nn.init.normal_(layer.bias)
    return mlp


def test_values_are_those_of_the_formula():
    mlp, x = mlp_of("0+ 1+ 0- 1-"), torch.randn(5, 8, 6).double()
    z = mlp.up(x)
    s = z[:, :1]
    gate = (1 + torch.tanh((2 / torch.pi) ** 0.5 * (s + 0.044715 * s**3))) / 2
    assert_close(mlp(x), mlp.down(z * gate))


def test_scalars_see_a_gelu_mlp():
    mlp, x = mlp_of("0+ 1-"), torch.randn(5, 4, 6).double()
    up, down = (torch.nn.functional.linear, mlp.up), (torch.nn.functional.linear, mlp.down)
    hidden = torch.nn.functional.gelu(up[0](x[:, 0], mlp.up.weight[0], mlp.up.bias), approximate="tanh")
    assert_close(mlp(x)[:, 0], down[0](hidden, mlp.down.weight[0], mlp.down.bias))


@pytest.mark.parametrize(
    ("irreps", "determinant"),
    [("0+ 1-", 1), ("0+ 1-", -1), ("0+ 1- 2+", -1), ("0+ 1+ 0- 1-", -1), ("0 1 2", 1)],
)
def test_commutes_with_rotations(irreps, determinant):
    mlp = mlp_of(irreps)
    x, q = torch.randn(5, mlp.irreps.dim, 6).double(), random_orthogonal(3, determinant)
    assert_close(mlp(turned(x, irreps, q)), turned(mlp(x), irreps, q), atol=1e-12, rtol=0)


def test_large_scalars_keep_the_gate_between_0_and_1():
    mlp = mlp_of("0+ 1-").float()
    x = torch.randn(5, 4, 6) * 1e4
    x.requires_grad_()
    out = mlp(x)
    out.sum().backward()
    assert torch.isfinite(out).all() and torch.isfinite(x.grad).all()


def test_gradients():
    mlp, x = mlp_of("0+ 1-"), torch.randn(2, 4, 6).double().requires_grad_()
    assert torch.autograd.gradcheck(mlp, x)


def test_irreps_need_a_true_scalar():
    with pytest.raises(ValueError, match="irreps must hold a true scalar, whose channels are the gate, got 0- 1-"):
        EquivariantGatedMLP("0- 1-", 4, 8)
