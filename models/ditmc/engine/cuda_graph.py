"""Evaluations of the network as CUDA graphs, replayed from step to step. **Not yet run on a GPU.**

An evaluation launches hundreds of kernels, and of few atoms a kernel may take less time than its launch; a graph
launches them all at once. It reads the inputs, tables and buffers of one engine, so another batch that is to use it is
padded to the same sizes and written into them, see :class:`Engines`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ditkernels.models.ditmc.engine.engine import Engine
from ditkernels.models.ditmc.model import DiTMC
from ditkernels.pair_attention import select_impl as select_pair
from ditkernels.so3_attention import select_impl as select_so3


def check_cuda_graph(model: DiTMC, impl: str) -> None:
    """Raises ValueError unless the evaluations of a network can be captured."""
    weights = next(model.parameters())
    if type(model) is not DiTMC:
        raise ValueError(f"cuda_graph needs a network that the engine knows, DiTMC, got {type(model).__name__}")
    if weights.device.type != "cuda":
        raise ValueError(f"cuda_graph needs the network on a GPU, and it is on {weights.device}")
    if impl == "auto":
        impl = automatic(model)
    if impl != "triton":
        raise ValueError(f"cuda_graph needs the back-end triton, which never waits for the device, here it is {impl}")


def automatic(model: DiTMC) -> str:
    """The back-end that impl="auto" means for a network where it is."""
    weights = next(model.parameters())
    if model.config.equivariant:
        return select_so3(weights.device, weights.dtype, "basis")
    return select_pair(weights.device, weights.dtype, "table" if model.displacement is None else "displacement")


class Replayed:
    """An engine whose evaluations are replayed. The first of a kind is a plain one, in which kernels are compiled and
    buffers made, the second is captured. Kinds differ in the gate, in whether there is a previous estimate, and in
    their dtypes.

    Args:
        engine: on a GPU, see :func:`check_cuda_graph`; of padded inputs, whose first atoms are those of the batch.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.evaluations: dict[tuple, _Evaluation] = {}

    @torch.inference_mode()
    def denoise(self, positions: Tensor, t: float, *, x1_previous: Tensor | None = None, gate: float = 1.0) -> Tensor:
        """What :meth:`Engine.denoise` returns, for the first atoms alone."""
        cast = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None
        kind = (gate, x1_previous is not None, positions.dtype, cast)
        if kind not in self.evaluations:
            self.evaluations[kind] = _Evaluation(self.engine, positions, x1_previous, gate)
        return self.evaluations[kind](positions, t, x1_previous)


class _Evaluation:
    """An evaluation, plain the first time and captured then, and the tensors that it reads and writes."""

    def __init__(self, engine: Engine, positions: Tensor, x1_previous: Tensor | None, gate: float) -> None:
        self.positions = positions.new_zeros(engine.graph.num_atoms, 3)
        self.previous = None if x1_previous is None else torch.zeros_like(self.positions)
        self.time = positions.new_zeros(1)
        self.plain = lambda: engine.denoise(self.positions, self.time, x1_previous=self.previous, gate=gate)
        self.replay: Callable[[], None] | None = None
        self.estimate: Tensor | None = None

    def __call__(self, positions: Tensor, t: float, x1_previous: Tensor | None) -> Tensor:
        atoms = len(positions)
        self.positions[:atoms] = positions
        self.time.fill_(t)
        if self.previous is not None:
            self.previous[:atoms] = x1_previous
        if self.estimate is None:
            self.estimate = self.plain()
        else:
            if self.replay is None:
                self.replay, self.estimate = recorded(self.plain)
            self.replay()
        return self.estimate[:atoms].clone()  # the next replay writes to the same place


def recorded(function: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Capture a function without running it: what runs it, and the tensor that it then fills."""
    graph = torch.cuda.CUDAGraph()
    # The weights that autocast has cast so far go when it ends, so that the graph has to cast its own.
    own_casts = torch.autocast(
        "cuda",
        dtype=torch.get_autocast_dtype("cuda"),
        enabled=torch.is_autocast_enabled("cuda"),
        cache_enabled=False,
    )
    with own_casts, torch.cuda.graph(graph):
        result = function()
    return graph.replay, result
