"""AdaLN-Zero: at the start a block is the identity, and its gates can open."""

from __future__ import annotations

import pytest
import torch

from ditkernels.nn import AdaLNZero, layer_norm, modulate


def block(x, condition, ada, norm, linear):
    scale, shift, gate = ada(condition)
    return x + gate * linear(modulate(norm(x), scale, shift))


def test_shapes():
    chunks = AdaLNZero(8, 5)(torch.randn(7, 5))
    assert len(chunks) == 6 and all(chunk.shape == (7, 8) for chunk in chunks)


def test_block_starts_as_the_identity():
    x = torch.randn(4, 8)
    out = block(x, torch.randn(4, 5), AdaLNZero(8, 5, chunks=3), layer_norm(8), torch.nn.Linear(8, 8))
    assert torch.equal(out, x)


def test_gates_receive_a_gradient_at_the_start():
    ada, x = AdaLNZero(8, 5, chunks=3), torch.randn(4, 8)
    block(x, torch.randn(4, 5), ada, layer_norm(8), torch.nn.Linear(8, 8)).square().sum().backward()
    scale, shift, gate = ada.linear.weight.grad.chunk(3)
    assert (scale == 0).all() and (shift == 0).all() and gate.abs().max() > 0


def test_modulate_is_scale_around_one_and_shift():
    x, scale, shift = torch.randn(3, 4, 8)
    torch.testing.assert_close(modulate(x, scale, shift), x * (1 + scale) + shift)


def test_layer_norm_has_no_parameters():
    norm = layer_norm(8)
    x = torch.randn(3, 8) * 5 + 2
    assert not list(norm.parameters())
    torch.testing.assert_close(norm(x).mean(1), torch.zeros(3), atol=1e-6, rtol=0)


def test_no_chunk_is_an_error():
    with pytest.raises(ValueError, match="chunks must be at least 1, got 0"):
        AdaLNZero(8, 5, chunks=0)
