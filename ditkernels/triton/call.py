"""What the launchers of all operators ask of a call: configurations, blocks of heads, and the dtype of products."""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
import triton.language as tl

from ditkernels.triton.configs import Config, Key, choose, power_of_two
from ditkernels.triton.schedule import Batch
from ditkernels.triton.support import interpreted

DOTS = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}


class KernelCall:
    """A call of an operator with tokens of one dtype, H heads of width D.

    rule: of the operator's ``rules``, for configurations that no table has
    components: the most that a token has
    """

    def __init__(
        self,
        operator: str,
        form: str,
        rule: Callable[[Key], Config],
        dtype: torch.dtype,
        heads: int,
        width: int,
        batch: Batch,
        components: int = 1,
    ):
        self.operator, self.form, self.rule, self.dtype, self.batch = operator, form, rule, dtype, batch
        self.heads, self.width, self.channels, self.components = heads, width, heads * width, components

    def config(self, kernel: str) -> Config:
        """The configuration of one of the operator's kernels."""
        dtype, batch = str(self.dtype).removeprefix("torch."), self.batch
        place = (self.channels, self.width, batch.atoms, batch.architecture, self.components)
        return choose(Key(self.operator, self.form, kernel, dtype, *place), self.rule)

    def groups(self, config: Config) -> int:
        """Number of blocks of heads."""
        return triton.cdiv(self.heads, config.heads)

    def sizes(self, config: Config) -> dict[str, int]:
        """The constants of :func:`ditkernels.triton.blocks.channels_of`."""
        padded = power_of_two(self.width)
        return {"HEADS": self.heads, "WIDTH": self.width, "PADDED": padded, "BLOCK_HEADS": config.heads}

    @property
    def dot(self) -> tl.dtype:
        """The dtype of the operands of matrix products; the interpreter has those of bfloat16 wrong."""
        return tl.float32 if interpreted() and self.dtype == torch.bfloat16 else DOTS[self.dtype]


def splits(pairs: int, block: int, most: int, rows: int) -> int:
    """Number of partial sums over all pairs, taken in blocks: `most`, and together an eighth of P rows at most.

    rows: of one partial sum
    """
    return max(1, min(most, triton.cdiv(pairs, block), pairs // (8 * max(rows, 1))))
