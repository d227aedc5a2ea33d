"""Attention that knows less: what it costs tells the price of the pair information. Neither computes our function.

`F.scaled_dot_product_attention` has no pair information at all. FlexAttention's score_mod can add a number to every
logit: here one bias per pair and head, drawn at random. Neither can modulate channels, which is what the operator is
for.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.cases import Case, Work
from benchmarks.contestants.contestant import LEFT_OUT, Contestant, Run, runner


class Price(Contestant):
    same = False

    @property
    def version(self) -> str:
        return f"torch {torch.__version__}"

    def concerns(self, case: Case) -> bool:
        return case.operator == "pair_attention" and case.layers == 1 and case.threads is None

    def why_not(self, case: Case, device: torch.device) -> str | None:
        return None if case.equal else "needs molecules of one size"


def heads_first(work: Work, size: int) -> Work:
    """Query, key, value and cotangent as (B, H, N, D)."""

    def turned(x: Tensor) -> Tensor:
        x = x if work.padded else x.unflatten(0, (len(work.lengths), size))
        return x.transpose(1, 2).contiguous()

    return Work(work.call, tuple(map(turned, work.tensors[:3])), turned(work.cotangent), work.lengths)


class ScaledDotProduct(Price):
    """PyTorch's fused attention without pair information."""

    name = "sdpa, no pair information"

    def make(self, case: Case, work: Work) -> Run:
        return runner(F.scaled_dot_product_attention, heads_first(work, case.lengths[0]), case.backward)


class Flex(Price):
    """FlexAttention with an additive bias per pair and head, compiled. On a CPU it has no backward pass."""

    name = "flex, additive bias"

    def why_not(self, case: Case, device: torch.device) -> str | None:
        if device.type == "cpu" and case.backward:
            return "FlexAttention has no backward pass on a CPU"
        return super().why_not(case, device) or (None if "flex" in case.tags else LEFT_OUT)

    def make(self, case: Case, work: Work) -> Run:
        from torch.nn.attention.flex_attention import flex_attention

        turned, size = heads_first(work, case.lengths[0]), case.lengths[0]
        generator = torch.Generator().manual_seed(1)
        bias = torch.randn(len(case.lengths), case.heads, size, size, generator=generator).to(turned.cotangent)

        def score(logit: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
            return logit + bias[b, h, i, j]

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return flex_attention(query, key, value, score_mod=score)

        return runner(torch.compile(attend, dynamic=False), turned, case.backward)
