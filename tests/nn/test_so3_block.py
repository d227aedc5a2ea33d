"""The equivariant transformer block."""

import pytest
import torch

from ditkernels.nn import SO3Block
from ditkernels.so3 import Irreps
from tests.support.rotations import random_orthogonal, turned

OPTIONS = {"filter_degrees": 3, "basis_size": 5, "radial": "gaussian", "cutoff": 6.0}
STATES = [("0+", "0+ 1- 2+"), ("0+ 1- 2+", "0+ 1-"), ("0+ 1+ 0- 1-", "0+ 1+ 0- 1-")]


def block_of(irreps_in, irreps, random=True, **options):
    torch.manual_seed(1)
    block = SO3Block(irreps_in, irreps, 8, 6, 16, 2, **OPTIONS, **options).double()
    if random:  # a new block passes its input through
        torch.nn.init.normal_(block.modulation.linear.weight, std=0.3)
        torch.nn.init.normal_(block.modulation.linear.bias, std=0.3)
    return block


def inputs(irreps):
    torch.manual_seed(2)
    state = torch.randn(9, Irreps(irreps).dim, 8, dtype=torch.float64)
    condition, positions = torch.randn(9, 6, dtype=torch.float64), torch.randn(9, 3, dtype=torch.float64)
    return state, condition, positions, torch.tensor([0, 5, 6, 9], dtype=torch.int32)


@pytest.mark.parametrize(("irreps_in", "irreps"), STATES)
def test_it_turns_and_reflects_with_its_input(irreps_in, irreps):
    block, (state, condition, positions, cu_seqlens) = block_of(irreps_in, irreps), inputs(irreps_in)
    expected = block(state, condition, positions, cu_seqlens=cu_seqlens)
    for determinant in (1, -1):
        orthogonal = random_orthogonal(determinant=determinant)
        moved = positions @ orthogonal.T + 2.0
        found = block(turned(state, irreps_in, orthogonal), condition, moved, cu_seqlens=cu_seqlens)
        torch.testing.assert_close(found, turned(expected, irreps, orthogonal), atol=1e-10, rtol=0)


@pytest.mark.parametrize(("irreps_in", "irreps"), STATES)
def test_a_new_block_passes_its_input_through(irreps_in, irreps):
    state, condition, positions, cu_seqlens = inputs(irreps_in)
    found = block_of(irreps_in, irreps, random=False)(state, condition, positions, cu_seqlens=cu_seqlens)
    shared = min(state.shape[1], found.shape[1])
    assert torch.equal(found[:, :shared], state[:, :shared]) and not found[:, shared:].any()


def test_a_condition_per_molecule():
    block, (state, condition, positions, cu_seqlens) = block_of("0+ 1-", "0+ 1-"), inputs("0+ 1-")
    rows = torch.arange(3).repeat_interleave(cu_seqlens.diff())
    found = block(state, condition[:3], positions, rows=rows, cu_seqlens=cu_seqlens)
    torch.testing.assert_close(found, block(state, condition[rows], positions, cu_seqlens=cu_seqlens))


@pytest.mark.parametrize("name", ["modulation", "attention", "mlp"])
def test_every_part_counts(name):
    block, (state, condition, positions, cu_seqlens) = block_of("0+ 1-", "0+ 1-"), inputs("0+ 1-")
    block(state, condition, positions, cu_seqlens=cu_seqlens).square().sum().backward()
    for parameter in getattr(block, name).parameters():
        assert parameter.grad is not None and parameter.grad.any()


def test_bad_arguments():
    with pytest.raises(ValueError, match="must hold a true scalar"):
        block_of("1-", "0+ 1-")
    with pytest.raises(ValueError, match="heads must divide dim"):
        SO3Block("0+ 1-", "0+ 1-", 8, 6, 16, 3, **OPTIONS)
