"""The pairs of a batch in plain PyTorch, for the references of the operators. Imports torch only.

Differentiable to any order. What a tensor holds in padded or forbidden rows never matters: masked values are replaced
*before* every operation whose derivative could turn them into NaN.
"""

from __future__ import annotations

import torch
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


def forbid(
    pairs: Pairs, inside: Tensor | None, mask: Tensor | None, exclude_self: bool, num_tokens: int, device: torch.device
) -> Tensor | None:
    """The allowed pairs, bool (*pairs): inside a molecule, in the mask (P,), not i = j if exclude_self. None: all."""
    allowed = inside
    if mask is not None:
        allowed = pairs.pair(mask) if allowed is None else allowed & pairs.pair(mask)
    if exclude_self:
        token = torch.arange(num_tokens, device=device)
        other = pairs.receiver(token) != pairs.sender(token)
        allowed = other if allowed is None else allowed & other
    return allowed


def allowed_rows(x: Tensor, pairs: Pairs, allowed: Tensor | None) -> Tensor:
    """A pair tensor (P, ...) as (*pairs, ...), with 0 in the rows that may not be read."""
    x = pairs.pair(x)
    if allowed is None:
        return x
    return torch.where(allowed.reshape(*allowed.shape, *[1] * (x.dim() - allowed.dim())), x, torch.zeros_like(x))


def softmax(pairs: Pairs, logits: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax over the allowed senders of logits (*pairs, H), in two parts: p = weights / total.

    Returns weights (*pairs, H), 0 where not allowed; total (T, H), 1 for a receiver without an allowed sender; and
    without gradient lse (T, H), the logarithm of the denominators (-inf for such a receiver).
    """
    keep = None if allowed is None else allowed.unsqueeze(-1)
    with torch.no_grad():  # the softmax does not depend on the shift
        shift = pairs.amax(logits if keep is None else logits.masked_fill(~keep, -torch.inf))
        shift = torch.where(shift == -torch.inf, 0.0, shift)
    logits = logits - pairs.receiver(shift)
    if keep is None:
        weights = logits.exp()
    else:
        weights = torch.where(keep, torch.where(keep, logits, 0.0).exp(), 0.0)
    total = pairs.sum(weights)
    some = total > 0
    total = torch.where(some, total, 1.0)
    with torch.no_grad():
        lse = torch.where(some, shift + total.log(), -torch.inf)
    return weights, total, lse
