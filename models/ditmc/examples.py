"""Training examples of DiTMC: collated molecules with all their random draws, a pure function of a generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ditkernels.models.data.dataset import CollatedMolecules
from ditkernels.models.ditmc.config import DiTMCConfig
from ditkernels.models.ditmc.flow import training_pair
from ditkernels.models.ditmc.geometry import random_rotations
from ditkernels.models.molecule.graph import GraphBatch

_LATE_SHARE = 0.98
_LATE_EXPONENT = 1.9
_SELF_CONDITIONING_SHARE = 0.5
# The velocity interpolant's noise scale has an infinite slope at both ends of [0, 1].
_TIME_MARGIN = 1e-5


@dataclass(frozen=True)
class TrainingExamples:
    """Arguments of ``flow_matching_loss`` for B molecules, T atoms: x1, x0, z (T, 3) in Å, t (B,), and the coins."""

    graph: GraphBatch
    x1: Tensor
    x0: Tensor
    t: Tensor
    z: Tensor
    condition_gate: float
    self_condition: bool

    @property
    def num_molecules(self) -> int:
        return self.graph.num_molecules

    def to(self, device: torch.device) -> TrainingExamples:
        moved = (x.to(device, non_blocking=True) for x in (self.x1, self.x0, self.t, self.z))
        graph = self.graph.to(device, non_blocking=True)
        return TrainingExamples(graph, *moved, self.condition_gate, self.self_condition)


def draw_examples(
    molecules: CollatedMolecules,
    model: DiTMCConfig,
    generator: torch.Generator,
    times: Tensor | None = None,
    time_sampling: str = "uniform",
) -> TrainingExamples:
    """Rotation, prior, time and noise for a batch, drawn on the CPU so that they do not depend on the device.

    ``times`` (B,) replaces the random times (and turns the coins off): validation uses a fixed grid.
    """
    graph, positions = molecules.graph, molecules.positions
    count, atoms = graph.num_molecules, graph.num_atoms
    rotations = random_rotations(count, generator)
    x0 = _prior(molecules.factors, torch.randn(atoms, 3, generator=generator), model.prior)
    z = torch.randn(atoms, 3, generator=generator)
    drawn = _draw_times(count, time_sampling, generator)
    coins = torch.rand(2, generator=generator).tolist()
    x1, x0 = training_pair(positions, x0, rotations, graph)
    if times is not None:
        return TrainingExamples(graph, x1, x0, times, z, 1.0, False)
    gate = 0.0 if coins[0] < model.guidance_dropout else 1.0
    self_condition = model.self_conditioning and coins[1] < _SELF_CONDITIONING_SHARE
    return TrainingExamples(graph, x1, x0, drawn, z, gate, self_condition)


def _prior(factors: Sequence[np.ndarray], noise: Tensor, prior: str) -> Tensor:
    """x0 = factor @ noise for every molecule (harmonic), or the noise itself (gaussian); Å."""
    if prior == "gaussian":
        return noise
    values, start = noise.numpy(), 0
    result = np.empty_like(values)
    for factor in factors:
        stop = start + len(factor)
        np.matmul(factor, values[start:stop], out=result[start:stop])
        start = stop
    return torch.from_numpy(result)


def _draw_times(count: int, sampling: str, generator: torch.Generator) -> Tensor:
    """(count,) times in (0, 1): uniform, or ``late`` = Beta(1.9, 1) with probability 0.98, else uniform."""
    uniform = torch.rand(count, generator=generator)
    if sampling == "late":
        # Beta(a, 1) has the distribution function t^a.
        late = torch.rand(count, generator=generator) < _LATE_SHARE
        uniform = torch.where(late, uniform ** (1 / _LATE_EXPONENT), uniform)
    return uniform.clamp(_TIME_MARGIN, 1 - _TIME_MARGIN)
