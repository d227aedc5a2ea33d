"""Who is measured: the fused kernels, the eager reference, torch.compile of that reference, and e3nn where it competes.

Every contestant is a function without arguments that runs one pass of a case and returns its tensors: the output, and
for forward+backward the gradients of all floating inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

from benchmarks.cases import Case
from benchmarks.inputs import Inputs
from benchmarks.so3_cases import So3Case

Run = Callable[[], tuple[Tensor, ...]]
AnyCase = Case | So3Case


def operator(impl: str, layers: int = 1) -> Callable[..., Tensor]:
    """The operator of a case with a fixed implementation as a function of flat tensors, which torch.compile takes well.

    With several layers each one's output is the query of the next, and all share the other tensors, as the blocks of a
    transformer do.
    """

    def call(inputs: Inputs, query: Tensor, *tensors: Tensor) -> Tensor:
        for _ in range(layers):
            query = inputs.call(impl, inputs.cu_seqlens, query, *tensors)
        return query

    return call


def runner(function: Callable[..., Tensor], inputs: Inputs, backward: bool) -> Run:
    """One pass of `function` over `inputs`."""
    if not backward:

        def forward() -> tuple[Tensor, ...]:
            with torch.no_grad():
                return (function(inputs, *inputs.tensors),)

        return forward

    tensors = [x.detach().requires_grad_(x.is_floating_point()) for x in inputs.tensors]
    wanted = [x for x in tensors if x.requires_grad]

    def forward_backward() -> tuple[Tensor, ...]:
        out = function(inputs, *tensors)
        return (out.detach(), *torch.autograd.grad(out, wanted, inputs.cotangent))

    return forward_backward


def fused(case: AnyCase, inputs: Inputs) -> Run:
    return runner(operator(IMPLS["fused"]), inputs, case.backward)


def eager(case: AnyCase, inputs: Inputs) -> Run:
    return runner(operator(IMPLS["eager"]), inputs, case.backward)


def compiled(case: AnyCase, inputs: Inputs) -> Run:
    """torch.compile of the reference, specialized to the shapes of the case (its best case)."""
    return runner(torch.compile(operator(IMPLS["eager"]), dynamic=False), inputs, case.backward)


def e3nn(case: So3Case, inputs: Inputs, mode: str | None = None) -> Run:
    """The composition of e3nn's parts, in the fastest mode of e3nn unless one is named."""
    if mode is None:
        from benchmarks.e3nn_modes import fastest_mode

        mode = fastest_mode(case)
    return runner(operator(""), case.e3nn(inputs, mode), case.backward)


IMPLS = {"fused": "cpu", "eager": "reference"}
CONTESTANTS = {"fused": fused, "eager": eager, "compile": compiled, "e3nn": e3nn}


def absent(case: AnyCase) -> dict[str, str]:
    """Which opponents of a case are not measured, and why."""
    reasons = {}
    if not case.compiled:
        reasons["compile"] = "skipped"
    if "e3nn" in case.opponents and find_spec("e3nn") is None:
        reasons["e3nn"] = "not installed"
    return reasons


def relative_error(results: tuple[Tensor, ...], truth: tuple[Tensor, ...]) -> float:
    """Largest over the tensors of max |x - truth| / max |truth|; NaN if anything is NaN."""
    tiny = torch.finfo(torch.float64).tiny
    pairs = [(x.double(), y.double()) for x, y in zip(results, truth, strict=True)]
    return float(torch.stack([(x - y).abs().max() / y.abs().max().clamp(min=tiny) for x, y in pairs]).max())


def truth(case: AnyCase, inputs: Inputs) -> tuple[Tensor, ...]:
    """The pass in float64 by the reference."""
    return eager(case, inputs.to(torch.float64))()
