"""Engines for batch after batch of one network, which keep what does not depend on the batch."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from torch import Tensor

from ditkernels.models.ditmc.engine.cuda_graph import Replayed, check_cuda_graph
from ditkernels.models.ditmc.engine.engine import Engine
from ditkernels.models.ditmc.engine.inputs import Inputs
from ditkernels.models.ditmc.engine.layers import Layers
from ditkernels.models.ditmc.engine.plain import Plain
from ditkernels.models.ditmc.model import DiTMC
from ditkernels.models.molecule.graph import GraphBatch

MOST_GRAPHS = 8
"""Sizes of batches whose CUDA graphs are kept; each holds the memory of an evaluation."""


class Evaluator(Protocol):
    """A network on one batch."""

    def denoise(self, positions: Tensor, t: float, *, x1_previous: Tensor | None = None, gate: float = 1.0) -> Tensor:
        """What :meth:`DiTMC.denoise` returns with one time t for all molecules."""


class Engines:
    """Evaluators of one network: its packed weights, and its CUDA graphs by the size of the batch.

    Args:
        model: the network, whose weights must not change any more. One of a class derived from DiTMC may compute
            something else than the engine knows, and its modules are evaluated as they are.
        impl: back-end of the attention operator; with "reference" the modules are evaluated as they are.
        cuda_graph: on a GPU, capture the second evaluation of a size of batches in a CUDA graph and replay it from then
            on, which saves the host's time. Batches are padded: numbers of molecules, atoms, pairs and rows of tables
            are rounded up to one of eight sizes from one power of two to the next. **Not yet run on a GPU.**

    Raises ValueError for ``cuda_graph`` where there can be none.
    """

    def __init__(self, model: DiTMC, impl: str = "auto", cuda_graph: bool = False) -> None:
        if cuda_graph:
            check_cuda_graph(model, impl)
        self.model, self.impl, self.cuda_graph = model, impl, cuda_graph
        self.layers = Layers(model) if type(model) is DiTMC and impl != "reference" else None
        self.replayed: OrderedDict[tuple, Replayed] = OrderedDict()

    def of(self, graph: GraphBatch) -> Evaluator:
        """The network on a batch, one entry per conformer. With ``cuda_graph`` the next call may change it."""
        if self.layers is None:
            return Plain(self.model, graph, self.impl)
        inputs = Inputs.of(self.model, graph, pad=self.cuda_graph)
        if not self.cuda_graph:
            return Engine(self.layers, inputs, self.impl)
        key = inputs.sizes
        if key in self.replayed:
            self.replayed[key].engine.inputs.copy_(inputs)
        else:
            self.replayed[key] = Replayed(Engine(self.layers, inputs, self.impl))
        self.replayed.move_to_end(key)
        if len(self.replayed) > MOST_GRAPHS:
            self.replayed.popitem(last=False)
        return self.replayed[key]
