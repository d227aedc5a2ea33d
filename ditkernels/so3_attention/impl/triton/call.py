"""What all kernels of one call share: fields, sizes and constants."""

from __future__ import annotations

import math

import torch
import triton.language as tl
from torch import Tensor

from ditkernels.so3_attention.impl.triton import rules
from ditkernels.so3_attention.impl.triton.couplings import couplings
from ditkernels.triton.call import KernelCall
from ditkernels.triton.configs import power_of_two
from ditkernels.triton.schedule import Batch

FIELDS = {
    "dense": ("positions", "path_weight", "a", "g"),
    "basis": ("positions", "path_weight", "weight_a", "weight_g", "index", "scaling"),
}
POINTERS = ("positions", "path_weight", "a", "g", "weight_a", "weight_g", "index", "scaling")


class Call(KernelCall):
    """What all kernels of one call share."""

    def __init__(
        self,
        form: str,
        q: Tensor,
        fields: tuple[Tensor | None, ...],
        batch: Batch,
        scale: float,
        irreps: str,
        kind: str,
        cutoff: float,
    ):
        self.scale = scale
        self.fields = dict(zip(FIELDS[form], fields, strict=True))
        weight = self.fields["g" if form == "dense" else "weight_g"]
        self.couplings = couplings(irreps, weight.shape[1])
        most = max(len(self.couplings.queries), self.couplings.values, self.couplings.outputs)
        super().__init__("so3_attention", form, rules.rule, q.dtype, *q.shape[2:], batch, most)
        self.count = 0 if form == "dense" else weight.shape[0]
        self.kind, self.cutoff = kind, cutoff
        # The fields of both forms, and the table of the Bernstein functions.
        logarithms = _logarithms(self.count, q.device) if kind == "bernstein" else None
        self.pointers = {**{name: self.fields.get(name) for name in POINTERS}, "logarithms": logarithms}

    def some(self, *names: str) -> dict[str, Tensor | None]:
        """Pointers that a kernel takes."""
        return {name: self.pointers[name] for name in names}

    @property
    def queries(self) -> dict:
        return {"QUERIES": self.couplings.queries, "IRREPS": self.couplings.irreps}

    @property
    def values(self) -> dict:
        return {"VALUES": self.couplings.values, "OUTPUTS": self.couplings.outputs}

    @property
    def radial(self) -> dict:
        single = self.dtype == torch.float32  # the reference makes radial functions in float64
        return {
            "DEGREES": self.couplings.degrees,
            "COUNT": self.count,
            "BLOCK": max(power_of_two(self.count), rules.LEAST_DOT),
            "KIND": self.kind,
            "CUTOFF": self.cutoff,
            "WIDE": tl.float64 if single else tl.float32,
            "DOT": self.dot,
        }


_kept: dict[tuple[int, torch.device], Tensor] = {}


def _logarithms(count: int, device: torch.device) -> Tensor:
    """The logarithms, base 2, of the binomial coefficients of the Bernstein functions: (count,) float64.

    Made on the device by its own arithmetic, nothing is copied to it. Kept for all later calls; but where a CUDA graph
    is captured before any other call, the graph makes the table for itself, in every replay.
    """
    table = _kept.get((count, device))
    if table is None:
        k = torch.arange(count, dtype=torch.float64, device=device)
        table = (math.lgamma(count) - torch.lgamma(k + 1) - torch.lgamma(count - k)) / math.log(2)
        if device.type == "cuda":
            if torch.cuda.is_current_stream_capturing():
                return table
            torch.cuda.current_stream(device).synchronize()  # calls on other streams read it, too
        _kept[count, device] = table
    return table
