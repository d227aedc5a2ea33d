"""The batch layout every operator works on; the only place that converts ragged and padded batches.

A batch holds B molecules. Tokens (atoms) of all molecules lie in one tensor (T, ...), ordered pairs in one tensor (P,
...). Molecule b owns the tokens ``offsets[b] ... offsets[b] + lengths[b]``; its pair (receiver i, sender j) is row
``pair_offsets[b] + i * stride + j``, where the stride is ``lengths[b]`` in a ragged batch (``pair_stride == 0``) and N
in a padded one (``pair_stride == N``).

Offsets are 64-bit: B = 64, N = 256, C = 512 already makes 2^31 elements of a pair tensor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Where the tokens and the pair rows of each molecule lie. All tensors are on the device of the tokens.

    offsets: (B,) int64, first token of each molecule
    lengths: (B,) int32, number of tokens of each molecule
    pair_offsets: (B,) int64, first pair row of each molecule
    pair_stride: row stride of a pair matrix; 0 means "the length of the molecule"
    num_tokens: T, the rows of a token tensor (padding included)
    num_pairs: P, the rows of a pair tensor (padding included); None where no tensor says it
    full: every row of the token and pair tensors belongs to a molecule (there is no padding)
    """

    offsets: Tensor
    lengths: Tensor
    pair_offsets: Tensor
    pair_stride: int
    num_tokens: int
    num_pairs: int | None
    full: bool

    @classmethod
    def ragged(cls, cu_seqlens: Tensor, num_tokens: int, num_pairs: int | None = None) -> Layout:
        """Layout of molecules stored back to back.

        cu_seqlens: (B+1,) int32 or int64, cumulative molecule sizes, from 0 to T.
        """
        bounds = cu_seqlens.to(torch.int64)
        lengths = bounds.diff()
        pairs = lengths * lengths
        return cls(
            offsets=bounds[:-1],
            lengths=lengths.to(torch.int32),
            pair_offsets=pairs.cumsum(0) - pairs,
            pair_stride=0,
            num_tokens=num_tokens,
            num_pairs=num_pairs,
            full=True,
        )

    @classmethod
    def padded(cls, batch: int, size: int, lengths: Tensor | None, device: torch.device) -> Layout:
        """Layout of a padded batch (B, N, ...) with pair tensors (B, N, N, ...).

        lengths: (B,) integer, tokens of each molecule, at most N; None means that all are N.
        """
        molecule = torch.arange(batch, dtype=torch.int64, device=device)
        full = lengths is None
        if full:
            lengths = torch.full((batch,), size, dtype=torch.int32, device=device)
        return cls(
            offsets=molecule * size,
            lengths=lengths.to(torch.int32),
            pair_offsets=molecule * (size * size),
            pair_stride=size,
            num_tokens=batch * size,
            num_pairs=batch * size * size,
            full=full,
        )
