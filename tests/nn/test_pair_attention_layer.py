"""The pair attention layer: projections around the operator, for both layouts."""

from __future__ import annotations

import pytest
import torch

from ditkernels import DensePair, TablePair, pair_attention
from ditkernels.nn import PairAttention


def ragged():
    cu_seqlens = torch.tensor([0, 3, 5], dtype=torch.int32)
    return torch.randn(5, 8), DensePair(torch.randn(13, 8), torch.randn(13, 8)), cu_seqlens


def test_layer_is_the_operator_between_projections():
    layer = PairAttention(8, 2)
    x, pair, cu_seqlens = ragged()
    q, k, v = (projection(x).view(5, 2, 4) for projection in (layer.query, layer.key, layer.value))
    expected = layer.out(pair_attention(q, k, v, pair, cu_seqlens=cu_seqlens).reshape(5, 8))
    torch.testing.assert_close(layer(x, pair, cu_seqlens=cu_seqlens), expected)


def test_padded_batch_keeps_its_shape():
    layer = PairAttention(8, 4, out_bias=False)
    pair = TablePair(torch.zeros(2, 3, 3, dtype=torch.uint8), torch.randn(1, 8))
    out = layer(torch.randn(2, 3, 8), pair, lengths=torch.tensor([3, 1]))
    assert out.shape == (2, 3, 8)
    assert (out[1, 1:] == 0).all() and out[1, 0].abs().max() > 0


def test_options_reach_the_operator():
    layer = PairAttention(8, 2, out_bias=False)
    x, pair, cu_seqlens = ragged()
    mask = torch.ones(13, dtype=torch.bool)
    mask[:3] = False
    out = layer(x, pair, cu_seqlens=cu_seqlens, mask=mask, bias=torch.randn(13, 2), exclude_self=True, impl="reference")
    assert (out[0] == 0).all() and (out[1:] != 0).any(dim=1).all()


def test_biases_of_the_projections():
    names = {name for name, _ in PairAttention(8, 2).named_parameters()}
    assert names == {"query.weight", "key.weight", "value.weight", "out.weight", "out.bias"}
    names = {name for name, _ in PairAttention(8, 2, qkv_bias=True, out_bias=False).named_parameters()}
    assert names == {f"{p}.weight" for p in ("query", "key", "value", "out")} | {
        f"{p}.bias" for p in ("query", "key", "value")
    }


def test_heads_must_divide_dim():
    with pytest.raises(ValueError, match="heads must divide dim = 8, got 3"):
        PairAttention(8, 3)


def test_training_lowers_the_loss():
    layer = PairAttention(8, 2)
    table = torch.nn.Parameter(torch.ones(4, 8))
    x, _, cu_seqlens = ragged()
    index, target = torch.randint(0, 4, (13,)), torch.randn(5, 8)
    optimizer = torch.optim.Adam([*layer.parameters(), table], lr=1e-2)
    losses = []
    for _ in range(60):
        loss = (layer(x, TablePair(index, table), cu_seqlens=cu_seqlens) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
