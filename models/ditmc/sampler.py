"""Sampling: the flow's ordinary differential equation from the prior to conformers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ditkernels.models.ditmc.engine import Engines, Evaluator
from ditkernels.models.ditmc.geometry import center
from ditkernels.models.ditmc.model import DiTMC
from ditkernels.models.molecule.graph import GraphBatch

GRIDS = ("uniform", "log")
METHODS = ("euler", "heun")


def time_grid(steps: int, grid: str = "uniform") -> list[float]:
    """``steps + 1`` times from 0 to 1: ``"uniform"``, or ``"log"``, which is denser near 1.

    The logarithmic grid is t = 1 - (10^s - 1) / 9 for s equally spaced from 1 to 0.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if grid == "uniform":
        return [n / steps for n in range(steps + 1)]
    if grid == "log":
        return [1 - (10 ** (1 - n / steps) - 1) / 9 for n in range(steps + 1)]
    raise ValueError(f"grid must be uniform or log, got {grid!r}")


@torch.inference_mode()
def sample(
    model: DiTMC,
    graph: GraphBatch,
    x0: Tensor,
    *,
    steps: int = 50,
    grid: str = "uniform",
    method: str = "euler",
    guidance: float = 1.0,
    impl: str = "auto",
    cuda_graph: bool = False,
    engines: Engines | None = None,
    callback: Callable[[int, int], None] | None = None,
) -> Tensor:
    r"""Integrate :math:`\dot x = (\hat x_1(x, t) - x)/(1 - t)` from t = 0 to 1.

    Args:
        model: the network.
        graph: the batch of molecules, one entry per conformer.
        x0: prior positions (T, 3) in Å; they set the result's dtype.
        steps: intervals of the grid; Euler evaluates the network once per interval, Heun twice but for the last.
        grid: ``"uniform"`` or ``"log"``.
        method: ``"euler"`` or ``"heun"`` (second order; the last interval is an Euler step, as the field has a
            removable singularity at t = 1).
        guidance: 1 is plain sampling; w extrapolates x1 = x1_free + w (x1_conditioned - x1_free) at twice the cost.
        impl, cuda_graph: see :class:`ditkernels.models.ditmc.engine.Engines`.
        engines: those of this network, in place of ``impl`` and ``cuda_graph``: packed weights and CUDA graphs are then
            kept from call to call.
        callback: called as ``callback(step, steps)`` after every interval.

    Returns:
        Positions (T, 3) in Å, centered per molecule.

    Raises:
        ValueError: an argument out of range, or ``cuda_graph`` where there can be none.
    """
    if method not in METHODS:
        raise ValueError(f"method must be euler or heun, got {method!r}")
    times = time_grid(steps, grid)
    if engines is not None and engines.model is not model:
        raise ValueError("engines are those of another network")
    network = (engines or Engines(model, impl, cuda_graph)).of(graph)
    estimator = _Estimator(network, guidance, model.config.self_conditioning)
    x = center(x0, graph)
    for n in range(steps):
        now, then = times[n], times[n + 1]
        velocity = (estimator(x, now) - x) / (1 - now)
        if method == "heun" and n + 1 < steps:
            ahead = x + (then - now) * velocity
            velocity = (velocity + (estimator(ahead, then) - ahead) / (1 - then)) / 2
        x = x + (then - now) * velocity
        if callback is not None:
            callback(n + 1, steps)
    return center(x, graph)


class _Estimator:
    """Estimate of x1 along one trajectory, with guidance and the memory that self-conditioning needs."""

    def __init__(self, network: Evaluator, guidance: float, self_conditioning: bool) -> None:
        self.network, self.guidance, self.self_conditioning = network, guidance, self_conditioning
        self.previous: Tensor | None = None

    def __call__(self, x: Tensor, t: float) -> Tensor:
        x1 = self.network.denoise(x, t, x1_previous=self.previous, gate=1.0)
        if self.guidance != 1.0:
            free = self.network.denoise(x, t, x1_previous=self.previous, gate=0.0)
            x1 = free + self.guidance * (x1 - free)
        if self.self_conditioning:
            self.previous = x1
        return x1
