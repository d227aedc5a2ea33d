"""The network as a sampler of the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ditkernels.models.ditmc import DiTMC, sample
from ditkernels.models.ditmc.engine import Engines
from ditkernels.models.generation.options import GenerationOptions
from ditkernels.models.generation.tasks import Task
from ditkernels.models.molecule.graph import GraphBatch, collate

Sampler = Callable[[GraphBatch, Tensor], Tensor]
"""Prior positions (T, 3) float32 of a batch of molecules to final positions (T, 3), both on the CPU and in Angstrom."""


def sample_tasks(sampler: Sampler, jobs: Sequence[tuple[Task, int, int]], seed: int) -> list[np.ndarray]:
    """Positions (n, 3) float32 in Angstrom of every job (task, sample number, attempt number), as one batch."""
    graph = collate([task.graph for task, _, _ in jobs])
    noise = np.concatenate([task.prior_sample(seed, sample_number, attempt) for task, sample_number, attempt in jobs])
    positions = sampler(graph, torch.from_numpy(noise)).float().numpy()
    return np.split(positions, np.cumsum([task.graph.num_atoms for task, _, _ in jobs])[:-1])


def choose_device(name: str | None) -> torch.device:
    """The named device, or the GPU where there is one, else the CPU. Raises ValueError for an unknown or absent
    device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}, expected for example cpu, cuda or cuda:1") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r} was asked for, but this torch sees no GPU")
    return device


def network_sampler(model: DiTMC, options: GenerationOptions, impl: str = "auto", cuda_graph: bool = False) -> Sampler:
    """Integrates the flow of `model` on the device of its weights with the options' steps, grid and method.

    Raises ValueError where a CUDA graph is asked for and cannot be made.
    """
    weights = next(model.parameters())
    engines = Engines(model, impl, cuda_graph)
    settings = {"steps": options.steps, "grid": options.grid, "method": options.method}

    def run(graph: GraphBatch, x0: Tensor) -> Tensor:
        graph = graph.to(weights.device, weights.dtype)
        x0 = x0.to(weights.device, weights.dtype)
        return sample(model, graph, x0, **settings, engines=engines).cpu()

    return run
