"""Who is measured: the fused kernels, the eager reference, and torch.compile of that reference.

Every contestant is a function without arguments that runs one pass of a case and returns its tensors: the output, and
for forward+backward the gradients of all floating inputs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.cases import Case, Inputs
from ditkernels import pair_attention

Run = Callable[[], tuple[Tensor, ...]]


def attention(impl: str, layers: int = 1) -> Callable[..., Tensor]:
    """`pair_attention` with a fixed implementation as a function of flat tensors, which torch.compile takes well.

    With several layers each one's output is the query of the next, and all share the pair tensors, as the blocks of a
    transformer do.
    """

    def call(inputs: Inputs, query: Tensor, key: Tensor, value: Tensor, *pair: Tensor) -> Tensor:
        for _ in range(layers):
            pair_info = inputs.descriptor(*pair)
            query = pair_attention(query, key, value, pair_info, cu_seqlens=inputs.cu_seqlens, impl=impl)
        return query

    return call


def runner(function: Callable[..., Tensor], inputs: Inputs, backward: bool) -> Run:
    """One pass of `function` over `inputs`."""
    if not backward:

        def forward() -> tuple[Tensor, ...]:
            with torch.no_grad():
                return (function(inputs, *inputs.tokens, *inputs.pair),)

        return forward

    tensors = [x.detach().requires_grad_(x.is_floating_point()) for x in (*inputs.tokens, *inputs.pair)]
    wanted = [x for x in tensors if x.requires_grad]

    def forward_backward() -> tuple[Tensor, ...]:
        out = function(inputs, *tensors)
        return (out.detach(), *torch.autograd.grad(out, wanted, inputs.cotangent))

    return forward_backward


def fused(case: Case, inputs: Inputs) -> Run:
    return runner(attention(IMPLS["fused"]), inputs, case.backward)


def eager(case: Case, inputs: Inputs) -> Run:
    return runner(attention(IMPLS["eager"]), inputs, case.backward)


def compiled(case: Case, inputs: Inputs) -> Run:
    """torch.compile of the reference, specialized to the shapes of the case (its best case)."""
    torch.compiler.reset()
    return runner(torch.compile(attention(IMPLS["eager"]), dynamic=False), inputs, case.backward)


IMPLS = {"fused": "cpu", "eager": "reference"}
CONTESTANTS = {"fused": fused, "eager": eager, "compile": compiled}


def relative_error(results: tuple[Tensor, ...], truth: tuple[Tensor, ...]) -> float:
    """Largest over the tensors of max |x - truth| / max |truth|."""
    return max(float((x.double() - y).abs().max() / y.abs().max()) for x, y in zip(results, truth, strict=True))


def truth(case: Case, inputs: Inputs) -> tuple[Tensor, ...]:
    """The pass in float64 by the reference."""
    return eager(case, inputs.to(torch.float64))()
