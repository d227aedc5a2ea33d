"""Pair attention in plain PyTorch: this file defines what every other implementation computes.

    logit_ij^h = scale * sum_{c in h} q_ic k_jc a_ij,c  (+ bias_ij^h)
    p_ij^h     = softmax over the allowed senders j of logit_ij^h
    out_ic     = sum_j p_ij^{h(c)} v_jc b_ij,c

(arXiv 2506.15378, eqs. 15-16, with two modulations a and b in place of u.) Differentiable to any order, any floating
dtype; half precision is computed in float32 and rounded once. A receiver without an allowed sender has output 0 and no
gradient: masked values are replaced *before* every operation whose derivative could turn them into NaN, and what a
tensor holds in padded or forbidden rows never matters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ditkernels.attention.pairs import Pairs, allowed_rows, arrange, forbid, softmax

PAIR_ROWS = {"dense": 0, "table": 0, "projected": 0, "displacement": 4}  # the tensor that has one row per pair


def modulations(
    form: str, pair: tuple[Tensor | None, ...], pairs: Pairs, allowed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The modulations a and b of every pair: two tensors (*pairs, C), where (*pairs) is (B, N, N) or (P,).

    pair: the tensors of the descriptor, floating ones in one dtype
    allowed: bool (*pairs), the rows of pair tensors that may be read; None = all
    """

    def rows(x: Tensor) -> Tensor:
        return allowed_rows(x, pairs, allowed)

    if form == "dense":
        a, b = pair
        a = rows(a)
        return a, a if b is None else rows(b)
    if form == "table":
        index, table_a, table_b = pair
        index = rows(index).long()
        a = table_a[index]
        return a, a if table_b is None else table_b[index]
    if form == "projected":
        e, weight_a, weight_b = pair
        e = rows(e)
        a = e @ weight_a
        return a, a if weight_b is None else e @ weight_b
    if form == "displacement":
        positions, v1, weight_a, weight_b, index, table_a, table_b = pair
        hidden = F.silu((pairs.sender(positions) - pairs.receiver(positions)) @ v1)
        a = hidden @ weight_a
        b = a if weight_b is None else hidden @ weight_b
        if index is None:
            return a, b
        index = rows(index).long()
        if weight_b is None and table_b is None:
            a = a + table_a[index]
            return a, a
        return a + table_a[index], b + (table_a if table_b is None else table_b)[index]
    raise ValueError(f"form must be 'dense', 'table', 'projected' or 'displacement', got {form!r}")


def attention(
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
    full: bool = False,
) -> tuple[Tensor, Tensor]:
    """Pair attention on the flat layout of :mod:`ditkernels.layout`.

    q, k, v: (T, H, D)
    pair: the tensors of the descriptor, in the order of its fields
    mask: (P,) bool or None; bias: (P, H) or None
    full: the caller knows that a padded batch has no padding

    Returns out (T, H, D) in the dtype of q, and without gradient the logarithm of the softmax denominators, lse (T, H),
    in the accumulation dtype (-inf for a receiver without an allowed sender).
    """
    num_tokens, heads, width = q.shape
    given_dtype = q.dtype
    dtype = torch.float64 if given_dtype == torch.float64 else torch.float32
    of_pairs = next((x for x in (pair[PAIR_ROWS[form]], mask, bias) if x is not None), None)
    num_pairs = None if of_pairs is None else of_pairs.shape[0]
    pairs, allowed = arrange(num_tokens, num_pairs, offsets, lengths, pair_offsets, pair_stride, full)

    pair = tuple(x.to(dtype) if x is not None and x.is_floating_point() else x for x in pair)
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    if allowed is not None:
        # (T, 1): an atom is in one molecule with itself unless it is padding
        inside = allowed.diagonal(dim1=1, dim2=2).reshape(-1, 1)
        q, k, v = (torch.where(inside[..., None], x, 0.0) for x in (q, k, v))
        if form == "displacement":
            pair = (torch.where(inside, pair[0], 0.0), *pair[1:])

    allowed = forbid(pairs, allowed, mask, exclude_self, num_tokens, q.device)
    a, b = (x.unflatten(-1, (heads, width)) for x in modulations(form, pair, pairs, allowed))

    logits = (pairs.receiver(q * scale) * a * pairs.sender(k)).sum(-1)  # (*pairs, H)
    if bias is not None:
        logits = logits + pairs.pair(bias).to(dtype)
    weights, total, lse = softmax(pairs, logits, allowed)
    out = pairs.sum(weights.unsqueeze(-1) * b * pairs.sender(v)) / total.unsqueeze(-1)
    return out.to(given_dtype), lse
