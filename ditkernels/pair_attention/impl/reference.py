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


class SquarePairs:
    """Pairs of equally long (or padded) molecules as (B, N, N, ...): broadcasting makes pairs, sums run over axis 2."""

    def __init__(self, batch: int, size: int):
        self.batch, self.size = batch, size

    def receiver(self, x: Tensor) -> Tensor:  # (T, ...) -> (B, N, 1, ...)
        return x.reshape(self.batch, self.size, 1, *x.shape[1:])

    def sender(self, x: Tensor) -> Tensor:  # (T, ...) -> (B, 1, N, ...)
        return x.reshape(self.batch, 1, self.size, *x.shape[1:])

    def pair(self, x: Tensor) -> Tensor:  # (P, ...) -> (B, N, N, ...)
        return x.reshape(self.batch, self.size, self.size, *x.shape[1:])

    def sum(self, x: Tensor) -> Tensor:  # (B, N, N, ...) -> (T, ...), over the senders
        return x.sum(2).flatten(0, 1)

    def amax(self, x: Tensor) -> Tensor:
        return x.amax(2).flatten(0, 1)


class ListedPairs:
    """Pairs of molecules of any sizes as one list (P, ...): gathers make pairs, sums are segment sums."""

    def __init__(self, receivers: Tensor, senders: Tensor, num_tokens: int):
        self.receivers, self.senders, self.num_tokens = receivers, senders, num_tokens

    def receiver(self, x: Tensor) -> Tensor:  # (T, ...) -> (P, ...)
        return x[self.receivers]

    def sender(self, x: Tensor) -> Tensor:  # (T, ...) -> (P, ...)
        return x[self.senders]

    def pair(self, x: Tensor) -> Tensor:
        return x

    def sum(self, x: Tensor) -> Tensor:  # (P, ...) -> (T, ...)
        return x.new_zeros(self.num_tokens, *x.shape[1:]).index_add(0, self.receivers, x)

    def amax(self, x: Tensor) -> Tensor:  # (P, H) -> (T, H)
        rows = self.receivers[:, None].expand_as(x)
        return x.new_full((self.num_tokens, x.shape[1]), -torch.inf).scatter_reduce(0, rows, x, "amax")


Pairs = SquarePairs | ListedPairs
PAIR_ROWS = {"dense": 0, "table": 0, "projected": 0, "displacement": 4}  # the tensor that has one row per pair


def arrange(
    num_tokens: int,
    num_pairs: int | None,
    offsets: Tensor,
    lengths: Tensor,
    pair_offsets: Tensor,
    pair_stride: int,
    full: bool = False,
) -> tuple[Pairs, Tensor | None]:
    """The pairs of a batch, and which of them lie inside a molecule (bool, None = all of them).

    num_pairs: P, or None where no tensor has pair rows. full: the caller knows that a padded batch has no padding.
    """
    batch, device = offsets.shape[0], offsets.device
    if pair_stride > 0 and num_tokens > 0:
        pairs = SquarePairs(batch, pair_stride)
        if full:
            return pairs, None
        valid = torch.arange(pair_stride, device=device) < lengths[:, None]  # (B, N)
        return pairs, valid[:, :, None] & valid[:, None, :]
    if num_pairs is None and torch.compiler.is_compiling():
        # Only the values of the lengths say how many pairs there are, and a graph cannot wait for them: T x T, masked.
        molecule = torch.searchsorted(offsets + lengths, torch.arange(num_tokens, device=device), right=True)
        return SquarePairs(1, num_tokens), (molecule[:, None] == molecule)[None]
    if num_pairs is None:
        num_pairs = int(lengths.long().square().sum())
    # By Cauchy-Schwarz, B * sum(n^2) = (sum n)^2 holds only if all molecules have the same size.
    if num_tokens > 0 and num_pairs * batch == num_tokens * num_tokens:
        return SquarePairs(batch, num_tokens // batch), None
    row = torch.arange(num_pairs, device=device)
    # right=True skips empty molecules, which start at the same row as the next one.
    molecule = torch.searchsorted(pair_offsets, row, right=True) - 1
    start, size, row = offsets[molecule], lengths[molecule].long(), row - pair_offsets[molecule]
    return ListedPairs(start + row // size, start + row % size, num_tokens), None


def modulations(
    form: str, pair: tuple[Tensor | None, ...], pairs: Pairs, allowed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The modulations a and b of every pair: two tensors (*pairs, C), where (*pairs) is (B, N, N) or (P,).

    pair: the tensors of the descriptor, floating ones in one dtype
    allowed: bool (*pairs), the rows of pair tensors that may be read; None = all
    """

    def rows(x: Tensor) -> Tensor:
        x = pairs.pair(x)
        if allowed is None:
            return x
        return torch.where(allowed.reshape(*allowed.shape, *[1] * (x.dim() - allowed.dim())), x, torch.zeros_like(x))

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

    if mask is not None:
        allowed = pairs.pair(mask) if allowed is None else allowed & pairs.pair(mask)
    if exclude_self:
        token = torch.arange(num_tokens, device=q.device)
        other = pairs.receiver(token) != pairs.sender(token)
        allowed = other if allowed is None else allowed & other

    a, b = (x.unflatten(-1, (heads, width)) for x in modulations(form, pair, pairs, allowed))

    logits = (pairs.receiver(q * scale) * a * pairs.sender(k)).sum(-1)  # (*pairs, H)
    if bias is not None:
        logits = logits + pairs.pair(bias).to(dtype)
    keep = None if allowed is None else allowed.unsqueeze(-1)
    with torch.no_grad():  # the softmax does not depend on the shift
        shift = pairs.amax(logits if keep is None else logits.masked_fill(~keep, -torch.inf))  # (T, H)
        shift = torch.where(shift == -torch.inf, 0.0, shift)
    logits = logits - pairs.receiver(shift)
    if keep is None:
        weights = logits.exp()
    else:
        weights = torch.where(keep, torch.where(keep, logits, 0.0).exp(), 0.0)
    total = pairs.sum(weights)  # (T, H)
    some = total > 0
    out = pairs.sum(weights.unsqueeze(-1) * b * pairs.sender(v))
    out = out / torch.where(some, total, 1.0).unsqueeze(-1)
    with torch.no_grad():
        lse = torch.where(some, shift + torch.where(some, total, 1.0).log(), -torch.inf)
    return out.to(given_dtype), lse
