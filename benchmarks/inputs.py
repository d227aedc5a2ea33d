"""What every case of a benchmark is made of: random tensors, and the call of an operator on them.

Bytes count every tensor once: a forward pass reads the inputs and writes the output; a backward pass reads them again
with the output and its gradient, and writes one gradient per floating input. Operations count a multiplication or an
addition as one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

DTYPE = torch.float32
# (molecules, atoms per molecule): the mean sizes of QM9 and of GEOM-DRUGS, and larger ones.
SIZES = ((64, 18), (16, 44), (4, 100), (1, 181))
PASSES = ("forward", "forward+backward")


def normal(generator: torch.Generator, *shape: int, std: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=DTYPE) * std


@dataclass(frozen=True)
class Inputs:
    """Tensors of a case, of which those of tokens are (B, N, ...), and those of pairs (B, N, N, ...).

    call: (impl, cu_seqlens, *tensors) -> output; the first tensor is the query
    cotangent: gradient of the output
    In the ragged layout, (T, ...) and (P, ...), `cu_seqlens` is given, too.
    """

    call: Callable[..., Tensor]
    tensors: tuple[Tensor, ...]
    cotangent: Tensor
    batch: int
    size: int
    cu_seqlens: Tensor | None = None

    def ragged(self) -> Inputs:
        """The same numbers in the ragged layout."""
        B, N = self.batch, self.size

        def flat(x: Tensor) -> Tensor:
            if x.dim() > 2 and x.shape[:3] == (B, N, N):
                return x.flatten(0, 2)
            return x.flatten(0, 1) if x.shape[:2] == (B, N) else x

        cu_seqlens = torch.arange(B + 1, dtype=torch.int32) * N
        tensors, cotangent = tuple(map(flat, self.tensors)), flat(self.cotangent)
        return replace(self, tensors=tensors, cotangent=cotangent, cu_seqlens=cu_seqlens)

    def to(self, dtype: torch.dtype) -> Inputs:
        def cast(x: Tensor) -> Tensor:
            return x.to(dtype) if x.is_floating_point() else x

        return replace(self, tensors=tuple(map(cast, self.tensors)), cotangent=cast(self.cotangent))


def bytes_moved(inputs: Inputs, backward: bool) -> int:
    """Bytes that a pass must read and write."""
    given = sum(x.nbytes for x in inputs.tensors)
    gradients = sum(x.nbytes for x in inputs.tensors if x.is_floating_point())
    output = inputs.cotangent.nbytes
    forward = given + output
    return forward + (given + 2 * output + gradients if backward else 0)
