"""Equivariant adaLN-Zero: order of its numbers, its zero start, and what its outputs do to features."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from ditkernels.nn import (
    EquivariantAdaLNZero,
    EquivariantGatedMLP,
    EquivariantLayerNorm,
    modulate_irreps,
    scale_irreps,
)
from ditkernels.so3 import Irreps
from tests.support.rotations import random_orthogonal, turned

FIRST, LATER = ("0+", "0+ 1+ 0- 1-"), ("0+ 1+ 0- 1-", "0+ 1+ 0- 1-")


@pytest.mark.parametrize(("lists", "rows"), [(FIRST, 15), (LATER, 18)])
def test_size_and_shapes(lists, rows):
    ada = EquivariantAdaLNZero(*lists, 8, 5)
    assert ada.linear.weight.shape == (rows * 8, 5)
    scale1, shift1, gate1, scale2, shift2, gate2 = ada(torch.randn(7, 5))
    assert scale1.shape == (7, 1 if lists is FIRST else 4, 8) and shift1.shape == shift2.shape == (7, 8)
    assert gate1.shape == scale2.shape == gate2.shape == (7, 4, 8)


def test_order_of_the_outputs_is_piece_then_irrep_then_channel():
    ada = EquivariantAdaLNZero("0+", "0+ 1-", 2, 3)
    with torch.no_grad():
        ada.linear.bias.copy_(torch.arange(18.0))
    scale1, shift1, gate1, scale2, shift2, gate2 = ada(torch.zeros(3))
    assert scale1.tolist() == [[0, 1]] and shift1.tolist() == [2, 3] and gate1.tolist() == [[4, 5], [6, 7]]
    assert scale2.tolist() == [[8, 9], [10, 11]] and shift2.tolist() == [12, 13]
    assert gate2.tolist() == [[14, 15], [16, 17]]


def test_starts_closed_and_gates_receive_a_gradient():
    ada, x = EquivariantAdaLNZero("0+ 1-", "0+ 1-", 8, 5), torch.randn(4, 4, 8)
    norm = EquivariantLayerNorm("0+ 1-")

    def block(x):
        scale, shift, gate, *_ = ada(torch.linspace(-1, 1, 5).expand(4, 5))
        return x + scale_irreps(modulate_irreps(norm(x), scale, shift, norm.irreps), gate, norm.irreps)

    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    pieces = ada.linear.weight.grad.unflatten(0, (-1, 8)).split((2, 1, 2, 2, 1, 2))
    assert (pieces[2].abs().amax(dim=(1, 2)) > 0).all()
    assert all((piece == 0).all() for i, piece in enumerate(pieces) if i != 2)


def test_modulation_is_a_scale_per_irrep_and_a_shift_of_the_scalar():
    norm = EquivariantLayerNorm(LATER[1])
    x, scale, shift = torch.randn(3, 8, 6), torch.randn(3, 4, 6), torch.randn(3, 6)
    expected = x * (1 + scale[:, torch.tensor([0, 1, 1, 1, 2, 3, 3, 3])])
    expected[:, 0] += shift
    assert_close(modulate_irreps(x, scale, shift, norm.irreps), expected)
    assert_close(scale_irreps(x, scale, norm.irreps), x * scale[:, torch.tensor([0, 1, 1, 1, 2, 3, 3, 3])])


@pytest.mark.parametrize("determinant", [1, -1])
def test_modulation_commutes_with_rotations(determinant):
    norm, q = EquivariantLayerNorm(LATER[1]), random_orthogonal(4, determinant)
    x, scale, shift = torch.randn(3, 8, 6).double(), torch.randn(3, 4, 6).double(), torch.randn(3, 6).double()

    def act(x):
        return modulate_irreps(x, scale, shift, norm.irreps)

    assert_close(act(turned(x, norm.irreps, q)), turned(act(x), norm.irreps, q), atol=1e-12, rtol=0)


def test_a_block_compiles_to_the_same_numbers():
    irreps = Irreps("0+ 1-")
    ada, norm = EquivariantAdaLNZero(irreps, irreps, 8, 5), EquivariantLayerNorm(irreps)
    mlp = EquivariantGatedMLP(irreps, 8, 16)
    torch.nn.init.normal_(ada.linear.weight)

    def block(x, condition):
        *_, scale, shift, gate = ada(condition)
        return x + scale_irreps(mlp(modulate_irreps(norm(x), scale, shift, irreps)), gate, irreps)

    x, condition = torch.randn(4, 4, 8), torch.randn(4, 5)
    assert_close(torch.compile(block, backend="aot_eager", fullgraph=True)(x, condition), block(x, condition))


def test_irreps_need_a_true_scalar():
    with pytest.raises(ValueError, match="irreps_in must hold a true scalar, which the shift acts on, got 1-"):
        EquivariantAdaLNZero("1-", "0+ 1-", 4, 4)
    with pytest.raises(ValueError, match="irreps must hold a true scalar, which the shift acts on, got 0- 1-"):
        EquivariantAdaLNZero("0+ 1-", "0- 1-", 4, 4)
    with pytest.raises(ValueError, match="irreps must hold a true scalar to be shifted, got 1-"):
        modulate_irreps(torch.zeros(2, 3, 4), torch.zeros(2, 1, 4), torch.zeros(2, 4), Irreps("1-"))
