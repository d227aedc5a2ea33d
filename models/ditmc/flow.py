"""Flow matching: the interpolant, its training pairs and its loss (eqs. 1-5; spec of the released model: section 4)."""

from __future__ import annotations

import torch
from torch import Tensor

from ditkernels.models.ditmc.geometry import center, kabsch_align, molecule_mean, rotate
from ditkernels.models.ditmc.model import DiTMC
from ditkernels.models.molecule.graph import GraphBatch

LATEST_WEIGHTED_TIME = 0.9
"""The x1 loss weight 1 / (1 - t)^2 stops growing here, at 100."""


def training_pair(x1: Tensor, x0: Tensor, rotations: Tensor, graph: GraphBatch) -> tuple[Tensor, Tensor]:
    """A randomly turned conformer and a prior sample turned onto it.

    Args:
        x1: reference positions (T, 3) in Å.
        x0: prior positions (T, 3) in Å.
        rotations: (B, 3, 3), one per molecule.
        graph: the batch.

    Returns:
        Centered x1 and x0; x0 is Kabsch-aligned onto x1.
    """
    x1 = center(rotate(x1, rotations, graph), graph)
    return x1, kabsch_align(center(x0, graph), x1, graph)


def interpolate(x0: Tensor, x1: Tensor, t: Tensor, z: Tensor, graph: GraphBatch, sigma: float | Tensor) -> Tensor:
    """Centered x_t = (1 - t) x0 + t x1 + sigma z, with t (B,) and sigma a number or (T, 1)."""
    t = t[graph.molecule].unsqueeze(-1)
    return center((1 - t) * x0 + t * x1 + sigma * center(z, graph), graph)


def flow_matching_loss(
    model: DiTMC | torch.nn.Module,
    graph: GraphBatch,
    x1: Tensor,
    x0: Tensor,
    t: Tensor,
    z: Tensor,
    *,
    condition_gate: float = 1.0,
    self_condition: bool = False,
    impl: str = "auto",
) -> Tensor:
    r"""Mean over molecules of the regression loss (scalar, Å²).

    For ``target="x1"`` :math:`w(t)\,\overline{(\hat x_1 - x_1)^2}` with :math:`w = (1-\min(t, 0.9))^{-2}` and constant
    noise σ; for ``target="velocity"`` :math:`\overline{(v - (x_1 - x_0 + \gamma'(t) z))^2}` with
    :math:`\gamma = \sigma\sqrt{t(1-t)}` (eq. 4). The bar is the mean over atoms and axes, so every molecule counts the
    same.

    Args:
        model: a :class:`DiTMC`, or a wrapper with the same ``forward`` and a ``module`` attribute.
        graph: the batch.
        x1, x0: training pair (T, 3) in Å, see :func:`training_pair`.
        t: (B,) times in (0, 1).
        z: unit normal noise (T, 3).
        condition_gate: 0 drops the graph condition for this step (classifier-free guidance).
        self_condition: feed a first estimate, without gradient, back into the network.
        impl: back-end of the attention operator.
    """
    network = getattr(model, "module", model)
    config = network.config
    options = {"condition_gate": condition_gate, "impl": impl}
    time = t[graph.molecule].unsqueeze(-1)
    velocity = config.target == "velocity"
    # The velocity interpolant's noise vanishes at both ends; the x1 interpolant's does not.
    spread = (time * (1 - time)).sqrt()
    sigma = config.sigma * spread if velocity else config.sigma
    x_t = interpolate(x0, x1, t, z, graph, sigma)
    if self_condition:
        with torch.no_grad():
            options["x1_previous"] = network.estimate(x_t, t, model(x_t, t, graph, **options), graph)
    output = model(x_t, t, graph, **options)
    if velocity:
        target = center(x1 - x0 + config.sigma * (1 - 2 * time) / (2 * spread) * center(z, graph), graph)
        return molecule_mean((output - target).square().mean(dim=-1), graph).mean()
    weight = (1 - t.clamp(max=LATEST_WEIGHTED_TIME)) ** -2
    return (weight * molecule_mean((output - x1).square().mean(dim=-1), graph)).mean()
