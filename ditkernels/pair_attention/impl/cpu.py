"""Pair attention on the CPU: native kernels (csrc/cpu), any float dtype, all cores.

    logit_ij^h = scale * sum_{c in h} q_ic k_jc a_ij,c (+ bias_ij^h)
    p_ij^h     = softmax over the allowed senders j
    out_ic     = sum_j p_ij^{h(c)} v_jc b_ij,c

Work is split by (molecule, up to 128 receivers, 256 of displacements), which depends on shapes only, so results do not
depend on the number of threads. Gradients of keys, values and positions are added per molecule in receiver order;
gradients of tables and weights per group of neighbouring items, then over the groups. There are no atomics: equal bits
in every run. The backward recomputes p from lse.

Elements moved per pair from and to memory, C = H * D (tokens, tables and weights stay in cache):

                  forward               backward
    dense         C or 2 C read         as much read and as much written
    table         1 index               1 index
    projected     E read                E read, E written
    displacement  1 index or nothing    1 index or nothing

Token tensors, tables and weights of half precision are widened to float32 here, rows of pair tensors by the kernels,
tile by tile.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ditkernels.attention.native import computed, has_padding, num_pairs, unsupported, widen

__all__ = ["backward", "forward", "unsupported"]

FIELDS = {
    "dense": ("a", "b"),
    "table": ("index", "table_a", "table_b"),
    "projected": ("e", "weight_a", "weight_b"),
    "displacement": ("positions", "v1", "weight_a", "weight_b", "index", "table_a", "table_b"),
}
# Arguments of the native operators, in their order.
PAIR_ARGUMENTS = ("a", "b", "e", "weight_a", "weight_b", "positions", "v1", "index", "table_a", "table_b")
GRADIENTS = ("a", "b", "e", "weight_a", "weight_b", "positions", "v1", "table_a", "table_b")
PER_PAIR = ("a", "b", "e", "index")
SUMS = ("weight_a", "weight_b", "v1", "table_a", "table_b")  # the kernels add to their gradients


def forward(
    form: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    pair: tuple[Tensor | None, ...],
    offsets: Tensor,
    lengths: Tensor,
    pair_offsets: Tensor,
    pair_stride: int,
    mask: Tensor | None,
    bias: Tensor | None,
    scale: float,
    exclude_self: bool,
) -> tuple[Tensor, Tensor]:
    """out (T, H, D) in the dtype of q, and lse (T, H) in the compute dtype (float32, or float64 for float64)."""
    fields = computed(dict(zip(FIELDS[form], pair, strict=True)), PER_PAIR)
    tokens = [widen(x) for x in (q, k, v)]
    padded = has_padding(q, lengths)
    out = torch.zeros_like(tokens[0]) if padded else torch.empty_like(tokens[0])
    lse = out.new_full(q.shape[:2], -torch.inf) if padded else out.new_empty(q.shape[:2])
    torch.ops.ditkernels_native.pair_attention_forward(
        *tokens,
        *map(fields.get, PAIR_ARGUMENTS),
        offsets,
        lengths,
        pair_offsets,
        pair_stride,
        num_pairs(fields, PER_PAIR, mask, bias),
        mask,
        bias,
        scale,
        exclude_self,
        out,
        lse,
    )
    return out.to(q.dtype), lse


def backward(
    form: str,
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    pair: tuple[Tensor | None, ...],
    offsets: Tensor,
    lengths: Tensor,
    pair_offsets: Tensor,
    pair_stride: int,
    mask: Tensor | None,
    bias: Tensor | None,
    scale: float,
    exclude_self: bool,
    needs: tuple[bool, ...],
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor | None, ...], Tensor | None]:
    """Gradients of q, k, v, of every pair tensor that ``needs`` marks, and of the bias if its last entry is set."""
    fields = computed(dict(zip(FIELDS[form], pair, strict=True)), PER_PAIR)
    grad_out, *tokens, out = (widen(x) for x in (grad_out.contiguous(), q, k, v, out))
    padded = has_padding(q, lengths)
    new = torch.zeros_like if padded else torch.empty_like
    d_tokens = [new(x) for x in tokens]
    *pair_needs, bias_need = needs
    grads = {}
    for name, need in zip(FIELDS[form], pair_needs, strict=True):
        if need and fields[name] is not None:
            grads[name] = torch.zeros_like(fields[name]) if name in SUMS else new(fields[name])
    d_bias = torch.zeros_like(bias) if bias_need and bias is not None else None
    torch.ops.ditkernels_native.pair_attention_backward(
        grad_out,
        *tokens,
        out,
        lse,
        *map(fields.get, PAIR_ARGUMENTS),
        offsets,
        lengths,
        pair_offsets,
        pair_stride,
        num_pairs(fields, PER_PAIR, mask, bias),
        mask,
        bias,
        scale,
        exclude_self,
        *d_tokens,
        *map(grads.get, GRADIENTS),
        d_bias,
    )
    given = zip(FIELDS[form], pair, strict=True)
    d_pair = tuple(grads[name].to(x.dtype) if name in grads else None for name, x in given)
    return *(x.to(q.dtype) for x in d_tokens), d_pair, d_bias
