"""SO(3) attention from the tensor products of other packages: e3nn, cuEquivariance and OpenEquivariance, each composed
with the softmax of `benchmarks.e3nn_reference`, in its own layout and basis, so that no conversion is timed.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from benchmarks.cases import Case, Work
from benchmarks.cases.so3 import filter_degrees, irreps_of
from benchmarks.composition import Pairs
from benchmarks.contestants.contestant import LEFT_OUT, Contestant, Run, missing, runner, version_of


class Composed(Contestant):
    """A tensor product of somebody's and our softmax around it."""

    distribution: str

    @property
    def version(self) -> str:
        return version_of(self.distribution)

    def concerns(self, case: Case) -> bool:
        return case.operator == "so3_attention" and case.layers == 1 and case.threads is None

    def module(self, case: Case, device: torch.device) -> torch.nn.Module:
        """One for all cases with the same irreps and channels, so that what is compiled for one size serves others."""
        raise NotImplementedError

    def make(self, case: Case, work: Work) -> Run:
        work = work.ragged()
        attention, pairs = self.module(case, work.tensors[0].device), Pairs.of(case.lengths, work.tensors[0].device)
        query, key, value, positions, weight, *radial = work.tensors
        if case.form == "dense":
            radial = [x[pairs.rows] for x in radial]
        else:
            radial[2] = radial[2][pairs.rows].long()

        def function(query, key, value, positions, weight, *radial):
            if case.form == "basis":
                weight_a, weight_g, index, scaling = radial
                distance = (positions[pairs.senders] - positions[pairs.receivers]).norm(dim=-1)
                radial = attention.project("bernstein", distance, weight_a, weight_g, None, scaling[index])
            return attention(query, key, value, positions, weight, *radial, pairs)

        tokens = tuple(attention.to_own(x).contiguous() for x in (query, key, value))
        cotangent = attention.to_own(work.cotangent)
        work = replace(work, tensors=(*tokens, positions, weight, *radial), cotangent=cotangent)
        return runner(function, work, case.backward)

    def comparable(self, case: Case, results: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The output: gradients are those of another basis and of listed pairs."""
        device = results[0].device
        out = self.module(case, device).from_own(results[0].detach(), case.heads)
        return (out if not case.equal else out.unflatten(0, (len(case.lengths), case.lengths[0])),)


class E3nn(Composed):
    """e3nn in one of its modes; the fastest of them counts."""

    distribution = "e3nn"

    def __init__(self, mode: str):
        self.name, self.mode = f"e3nn {mode}", mode

    def why_not(self, case: Case, device: torch.device) -> str | None:
        if reason := missing("e3nn"):
            return reason
        if case.dtype != "float32":
            return "its tensor products are of one dtype"
        wanted = "e3nn-compile" if self.mode == "compile" else "e3nn"
        return None if wanted in case.tags else LEFT_OUT

    def module(self, case: Case, device: torch.device) -> torch.nn.Module:
        from benchmarks.e3nn_reference import E3nnAttention

        return _attention(E3nnAttention, case, device, mode=self.mode)


class OnGpu(Composed):
    """A package whose kernels need a GPU."""

    packages: tuple[str, ...]

    def why_not(self, case: Case, device: torch.device) -> str | None:
        if device.type != "cuda":
            return "its kernels need a GPU"
        if case.dtype not in ("float32", "float64"):
            return "composed in float32 only"
        return missing(*self.packages)


class CuEquivariance(OnGpu):
    """NVIDIA's cuEquivariance: gather, weighted tensor product and sum over senders in one kernel. **Not yet run on a
    GPU**; its slow fallback gives our results on a CPU.
    """

    name, distribution = "cuequivariance", "cuequivariance-torch"
    packages = ("cuequivariance_torch", "cuequivariance_ops_torch")

    def module(self, case: Case, device: torch.device) -> torch.nn.Module:
        from benchmarks.contestants.cuequivariance import CuEquivarianceAttention

        return _attention(CuEquivarianceAttention, case, device)


class OpenEquivariance(OnGpu):
    """OpenEquivariance's fused convolution, in its deterministic form. **Not yet run**: importing it takes a GPU."""

    name = distribution = "openequivariance"
    packages = ("openequivariance", "e3nn")

    def module(self, case: Case, device: torch.device) -> torch.nn.Module:
        from benchmarks.contestants.openequivariance import OpenEquivarianceAttention

        return _attention(OpenEquivarianceAttention, case, device)


def _attention(kind: type, case: Case, device: torch.device, **options) -> torch.nn.Module:
    return _cached(kind, irreps_of(case), filter_degrees(case), case.heads, case.channels, device, **options)


@lru_cache
def _cached(kind, irreps, degrees, heads, channels, device, **options) -> torch.nn.Module:
    return kind(irreps, irreps, irreps, degrees, heads, channels, **options).to(device)
