"""What a contestant is, and the run that it makes of a case."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import torch
from torch import Tensor

from benchmarks.cases import Case, OwnTime, Work

Run = Callable[[], tuple[Tensor, ...] | OwnTime]
"""One pass of a case, which returns its tensors: the output, and for forward+backward the gradients of all floating
inputs."""


LEFT_OUT = "left out: takes long to compile or to run, and is measured in other cases"
"""The reason of a contestant that competes in a few cases of a selection only."""


class Contestant:
    """Somebody who computes cases.

    name: in tables and results
    same: whether it computes the same function, so that its error means something
    """

    name: str
    same: bool = True

    @property
    def version(self) -> str:
        raise NotImplementedError

    def concerns(self, case: Case) -> bool:
        """Whether it belongs into the table of a case at all."""
        raise NotImplementedError

    def why_not(self, case: Case, device: torch.device) -> str | None:
        """None if it can run a case that it concerns on a device, else the reason in a few words."""
        raise NotImplementedError

    def make(self, case: Case, work: Work) -> Run:
        """A run of the case. May raise: the table says so."""
        raise NotImplementedError

    def comparable(self, case: Case, results: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Those of the results, from the first on, whose error is measured, in the case's own layout."""
        return results


def version_of(distribution: str) -> str:
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return distribution


def missing(*packages: str) -> str | None:
    """Why a contestant cannot run if one of the packages cannot be imported."""
    absent = [name for name in packages if find_spec(name) is None]
    return f"{absent[0]} is not installed" if absent else None


def runner(function: Callable[..., Tensor], work: Work, backward: bool) -> Run:
    """One pass of `function(*tensors)` over the tensors of `work`."""
    if work.cotangent is None:

        def whole() -> tuple[Tensor, ...] | OwnTime:
            return function(*work.tensors)

        return whole
    if not backward:

        def forward() -> tuple[Tensor, ...]:
            with torch.no_grad():
                return (function(*work.tensors),)

        return forward

    tensors = [x.detach().requires_grad_(x.is_floating_point()) for x in work.tensors]
    wanted = [x for x in tensors if x.requires_grad]

    def forward_backward() -> tuple[Tensor, ...]:
        out = function(*tensors)
        gradients = torch.autograd.grad(out, wanted, work.cotangent, allow_unused=True, materialize_grads=True)
        return (out.detach(), *gradients)

    return forward_backward
