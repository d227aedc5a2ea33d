"""The modules of a network as they are, with the interface of the engine."""

from __future__ import annotations

import torch
from torch import Tensor

from ditkernels.models.ditmc.model import DiTMC
from ditkernels.models.molecule.graph import GraphBatch


class Plain:
    """Evaluates the modules; nothing is shared between times and conformers but what :meth:`DiTMC.encode` returns."""

    @torch.inference_mode()
    def __init__(self, model: DiTMC, graph: GraphBatch, impl: str) -> None:
        self.model, self.conditioning, self.impl = model, model.encode(graph), impl

    @torch.inference_mode()
    def denoise(self, positions: Tensor, t: float, *, x1_previous: Tensor | None = None, gate: float = 1.0) -> Tensor:
        times = positions.new_full((self.conditioning.graph.num_molecules,), t)
        options = {"x1_previous": x1_previous, "condition_gate": gate, "impl": self.impl}
        return self.model.denoise(positions, times, self.conditioning, **options)
