"""The pair-modulated self-attention layer: projections around :func:`ditkernels.pair_attention.pair_attention`."""

from __future__ import annotations

from torch import Tensor, nn

from ditkernels.pair_attention import PairDescriptor, pair_attention


class PairAttention(nn.Module):
    """Multi-head self-attention within each molecule, modulated by a pair descriptor:

        out = W_o pair_attention(W_q x, W_k x, W_v x, pair)

    (arXiv 2506.15378, eqs. 15-16.) The caller makes the descriptor, so that layers can share what it holds.

    dim: channels of x, C = heads * D
    heads: number of heads; divides dim
    qkv_bias, out_bias: whether the projections have a bias
    """

    def __init__(self, dim: int, heads: int, *, qkv_bias: bool = False, out_bias: bool = True):
        super().__init__()
        if heads < 1 or dim % heads != 0:
            raise ValueError(f"heads must divide dim = {dim}, got {heads}")
        self.heads = heads
        self.query = nn.Linear(dim, dim, bias=qkv_bias)
        self.key = nn.Linear(dim, dim, bias=qkv_bias)
        self.value = nn.Linear(dim, dim, bias=qkv_bias)
        self.out = nn.Linear(dim, dim, bias=out_bias)

    def forward(
        self,
        x: Tensor,
        pair: PairDescriptor,
        *,
        cu_seqlens: Tensor | None = None,
        lengths: Tensor | None = None,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
        exclude_self: bool = False,
        impl: str = "auto",
    ) -> Tensor:
        """x: (T, dim) with cu_seqlens, or (B, N, dim) with optional lengths; the other arguments as in pair_attention.

        Returns a tensor like x.
        """
        query, key, value = (layer(x).unflatten(-1, (self.heads, -1)) for layer in (self.query, self.key, self.value))
        attended = pair_attention(
            query,
            key,
            value,
            pair,
            cu_seqlens=cu_seqlens,
            lengths=lengths,
            mask=mask,
            bias=bias,
            exclude_self=exclude_self,
            impl=impl,
        )
        return self.out(attended.flatten(-2))
