"""Sampling of conformers with random weights: time per step of the fused network and of its reference forms.

"reference" is the same network with the plain PyTorch attention, "released" the network with the released model's
operations, which aPE and rPE have.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.released import ReleasedDiTMC
from ditkernels.models.ditmc import DiTMC, DiTMCConfig, sample
from ditkernels.models.molecule.featurize import molecular_graph, parse_smiles
from ditkernels.models.molecule.graph import GraphBatch, collate

MOLECULE = "COCCc1ccc(OCC(O)CNC(C)C)cc1"  # metoprolol: 44 atoms, the mean of GEOM-DRUGS
CONFORMERS = 16
STEPS = 50
FEW_STEPS = 4
FORMS = ("fused", "reference", "released")


@dataclass(frozen=True)
class StepTimes:
    """Seconds of the set-up (conditioning) and of every step of one sampling run, and its result (T, 3) in Å."""

    setup: float
    steps: tuple[float, ...]
    positions: Tensor

    def scaled(self, steps: int) -> float:
        """Seconds of a run with `steps` steps, from the median step of this one."""
        return self.setup + steps * float(np.median(self.steps))


@dataclass(frozen=True)
class SamplingCase:
    """A network of one configuration in its forms, and the batch: CONFORMERS copies of MOLECULE."""

    model: DiTMC
    graph: GraphBatch
    start: Tensor
    runs: dict[str, Callable[[int], StepTimes]]


def build(name: str) -> SamplingCase:
    """The case of a configuration ("ape-b", "rpe-b", "pe3-b")."""
    torch.manual_seed(0)
    model = DiTMC(DiTMCConfig.named(name)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # adaLN-Zero starts as the identity; random gates make all blocks count
            parameter.add_(0.02 * torch.randn_like(parameter))
    forms = {"fused": (model, "auto"), "reference": (model, "reference")}
    if not model.config.equivariant:
        released = ReleasedDiTMC(model.config).eval()
        released.load_state_dict(model.state_dict())
        forms["released"] = (released, "reference")
    graph = collate([molecular_graph(parse_smiles(MOLECULE))] * CONFORMERS)
    start = torch.randn(graph.num_atoms, 3)
    runs = {form: partial(_run, network, graph, start, impl) for form, (network, impl) in forms.items()}
    return SamplingCase(model, graph, start, runs)


def _run(model: DiTMC, graph: GraphBatch, start: Tensor, impl: str, steps: int) -> StepTimes:
    stamps = [time.perf_counter()]
    positions = sample(
        model, graph, start, steps=steps, impl=impl, callback=lambda *_: stamps.append(time.perf_counter())
    )
    durations = np.diff(stamps)
    # The first interval holds the conditioning and one step.
    step = float(np.median(durations[1:]))
    return StepTimes(max(float(durations[0]) - step, 0.0), tuple(durations[1:].tolist()), positions)
