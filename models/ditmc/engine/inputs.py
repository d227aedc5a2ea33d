"""What the engine needs of a batch: computed once per batch, in tensors that another batch can be written into."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ditkernels.models.ditmc.model import DiTMC
from ditkernels.models.ditmc.pairs import Pairs
from ditkernels.models.molecule.graph import GraphBatch
from ditkernels.models.molecule.padding import next_size, pad_rows, padded
from ditkernels.models.molecule.repeats import distinct


@dataclass(frozen=True)
class Inputs:
    """A batch of B molecules, T atoms and P pairs, in which U atoms belong to distinct molecules.

    graph: the batch; what the conditioner alone reads of it is empty
    rows: (T,) int32, the row of ``nodes`` of every atom
    nodes: (U, F), the conditioner's tokens of the distinct molecules' atoms
    pairs: what the blocks learn of pairs
    index: (T,) place of every atom in its molecule, for networks with ``index_encoding``
    start: (U, 1, F), the first state, where it does not depend on positions; then all conformers of a molecule share
        the first queries, keys and values
    """

    graph: GraphBatch
    rows: Tensor
    nodes: Tensor
    pairs: Pairs
    index: Tensor | None
    start: Tensor | None

    @classmethod
    @torch.inference_mode()
    def of(cls, model: DiTMC, graph: GraphBatch, pad: bool = False) -> Inputs:
        """``pad``: add molecules and rows that nobody asked for, so that every tensor has one of few sizes: those after
        one another differ by an eighth at most.
        """
        molecules = distinct(graph)
        nodes, edges = model.conditioner(molecules.graph)
        kind = model.pair_conditioning
        pairs = model.pairs(kind.tokens(molecules.graph, edges), kind.index(molecules.graph)[molecules.pairs])
        rows, start = molecules.atoms, _start(model, molecules.graph, nodes)
        if pad:
            graph, size = padded(graph), next_size(len(nodes))
            rows, pairs = pad_rows(rows, graph.num_atoms), pairs.padded(len(graph.hop_index))
            nodes, start = pad_rows(nodes, size), None if start is None else pad_rows(start, size)
        index = graph.atom_index() if model.config.index_encoding else None
        return cls(_bare(graph), rows, nodes, pairs, index, start)

    def tensors(self) -> list[Tensor]:
        """All that depends on the batch, in the same order for all batches of a network."""
        own = (self.graph.atomic_numbers, self.graph.cu_seqlens, self.graph.molecule, self.rows, self.nodes)
        return [*own, *(x for x in (self.index, self.start) if x is not None), *self.pairs.tensors()]

    @property
    def sizes(self) -> tuple[torch.Size, ...]:
        return tuple(tensor.shape for tensor in self.tensors())

    @torch.inference_mode()
    def copy_(self, other: Inputs) -> None:
        """Become another batch of the same sizes."""
        if self.sizes != other.sizes:
            raise ValueError(f"a batch of sizes {other.sizes} does not fit into {self.sizes}")
        for mine, theirs in zip(self.tensors(), other.tensors(), strict=True):
            mine.copy_(theirs)


def _start(model: DiTMC, graph: GraphBatch, nodes: Tensor) -> Tensor | None:
    """The first state (U, 1, F) of distinct molecules, or None where it depends on positions."""
    embedding = model.atom_embedding
    if embedding.position is not None or embedding.feedback is not None:
        return None
    index = graph.atom_index() if model.config.index_encoding else None
    nowhere = nodes.new_zeros(graph.num_atoms, 3)
    return embedding(graph.atomic_numbers, nowhere, None, index).unsqueeze(1)


def _bare(graph: GraphBatch) -> GraphBatch:
    """Molecules and atomic numbers alone."""
    names = ("atom_features", "bond_senders", "bond_receivers", "bond_features", "hop_index", "hop_values")
    return replace(graph, **{name: getattr(graph, name)[:0] for name in names})
