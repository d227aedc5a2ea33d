"""Our back-ends, the eager reference, torch.compile of it, and the network as it was released."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch
from torch import Tensor

import ditkernels
from benchmarks.cases import Case, Work
from benchmarks.contestants.contestant import LEFT_OUT, Contestant, Run, runner

OPERATORS = ("pair_attention", "so3_attention")
ON_GPU_ONLY = ("triton",)
"""Back-ends that a CPU can only interpret, which tests ask for and nobody measures."""


def operator_of(case: Case) -> str:
    """The operator that decides whether a back-end can run a case."""
    if case.operator in OPERATORS:
        return case.operator
    return "so3_attention" if case.form.startswith("pe3") else "pair_attention"


def backends(device: torch.device) -> list[str]:
    """Names of the back-ends that can run some form of an operator in float32 on a device: all that there are, so that
    a new one appears by itself.
    """
    found = []
    left_out = ON_GPU_ONLY if device.type == "cpu" else ()
    for operator in OPERATORS:
        forms = importlib.import_module(f"ditkernels.{operator}.descriptors").FORMS
        for name, module in importlib.import_module(f"ditkernels.{operator}.impl").BACKENDS.items():
            works = any(module.unsupported(form, device, torch.float32) is None for form in forms)
            if works and name not in (*found, *left_out):
                found.append(name)
    return found


def automatic(case: Case, device: torch.device) -> str:
    """What impl="auto" is in a case: one of the back-ends, or "eager"."""
    package = importlib.import_module(f"ditkernels.{operator_of(case)}")
    chosen = package.select_impl(device, _dtype(case), _form(case))
    return "eager" if chosen == "reference" else chosen


def _dtype(case: Case) -> torch.dtype:
    return getattr(torch, case.dtype)


def _form(case: Case) -> str:
    """The form of the operator's descriptor."""
    if case.operator == operator_of(case):
        return case.form.removesuffix("_ab")
    return {"ape": "table", "rpe": "displacement", "pe3": "basis"}.get(case.form[:3], "dense")


def flat(work: Work, impl: str) -> Callable[..., Tensor]:
    """The case with a fixed implementation as a function of flat tensors, which torch.compile takes well."""
    call, cu_seqlens = work.call, work.cu_seqlens

    def function(*tensors: Tensor) -> Tensor:
        return call(impl, cu_seqlens, *tensors)

    return function


class Backend(Contestant):
    """One of our implementations by its name."""

    def __init__(self, name: str):
        self.name = name

    @property
    def version(self) -> str:
        return f"ditkernels {ditkernels.__version__}"

    def concerns(self, case: Case) -> bool:
        return True

    def why_not(self, case: Case, device: torch.device) -> str | None:
        modules = importlib.import_module(f"ditkernels.{operator_of(case)}.impl").BACKENDS
        if self.name not in modules:
            return f"has no {operator_of(case)}"
        return modules[self.name].unsupported(_form(case), device, _dtype(case))

    def make(self, case: Case, work: Work) -> Run:
        return runner(flat(work, self.name), work, case.backward)


class Eager(Contestant):
    """The reference path, impl="reference": what every ratio is taken against."""

    name = "eager"

    @property
    def version(self) -> str:
        return f"torch {torch.__version__}"

    def concerns(self, case: Case) -> bool:
        return True

    def why_not(self, case: Case, device: torch.device) -> str | None:
        return None

    def make(self, case: Case, work: Work) -> Run:
        return runner(flat(work, "reference"), work, case.backward)


class Compiled(Eager):
    """torch.compile of the reference, specialized to the shapes of the case (its best case)."""

    name = "compile"

    def concerns(self, case: Case) -> bool:
        return case.operator in OPERATORS and case.layers == 1 and case.threads is None

    def why_not(self, case: Case, device: torch.device) -> str | None:
        return None if "compile" in case.tags else LEFT_OUT

    def make(self, case: Case, work: Work) -> Run:
        return runner(torch.compile(flat(work, "reference"), dynamic=False), work, case.backward)


class Released(Eager):
    """The network with the operations of the released model, by the reference path."""

    name = "released"

    def concerns(self, case: Case) -> bool:
        return case.operator in ("network", "training", "sampling")

    def why_not(self, case: Case, device: torch.device) -> str | None:
        return "PE(3) has no such form here" if case.form.startswith("pe3") else None

    def make(self, case: Case, work: Work) -> Run:
        return runner(flat(work, "released"), work, case.backward)
