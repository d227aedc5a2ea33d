"""DiTMC: a diffusion transformer that predicts the atom positions of a conformer (arXiv 2506.15378)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ditkernels.models.ditmc.block import DiTBlock, PairMaps, Readout
from ditkernels.models.ditmc.conditioner import Conditioner
from ditkernels.models.ditmc.config import DiTMCConfig
from ditkernels.models.ditmc.embeddings import AtomEmbedding, HopEmbedding, TimeEmbedding
from ditkernels.models.ditmc.geometry import center
from ditkernels.models.ditmc.layers import MLP, lecun_, truncated_normal_
from ditkernels.models.molecule.graph import GraphBatch
from ditkernels.pair_attention import DisplacementPair, TablePair


@dataclass(frozen=True)
class Conditioning:
    """What the network knows of a batch before it sees time or positions; reusable over all sampling steps.

    Attributes:
        graph: the batch.
        nodes: atom tokens c^G (T, F).
        tables: for every block the rows (S, F) of a and of b that belong to ``graph.hop_values``.
        displacement: for every block of an rPE network the matrices (F, F) that follow the hidden layer, else None.
    """

    graph: GraphBatch
    nodes: Tensor
    tables: tuple[tuple[Tensor, Tensor], ...]
    displacement: tuple[tuple[Tensor, Tensor], ...] | None


class DiTMC(nn.Module):
    """Conformer network with scalar features (aPE or rPE) and all-pair conditioning.

    ``encode`` does what depends on the molecular graph alone, ``denoise`` the rest; calling the module does both.
    """

    def __init__(self, config: DiTMCConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.time_embedding = TimeEmbedding(width)
        self.atom_embedding = AtomEmbedding(
            width,
            absolute=config.embedding == "ape",
            self_conditioning=config.self_conditioning,
            index_encoding=config.index_encoding,
        )
        self.conditioner = Conditioner(config.atom_features, width, config.conditioner_layers)
        self.hop_embedding = HopEmbedding(width)
        self.displacement = MLP(3, width, width, bias=False) if config.embedding == "rpe" else None
        self.blocks = nn.ModuleList(DiTBlock(width, config.heads) for _ in range(config.blocks))
        self.readout = Readout(width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initial weights as in the released model: truncated LeCun normal, zero biases and adaLN-Zero gates."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                lecun_(module)
            elif isinstance(module, nn.Embedding):
                truncated_normal_(module.weight, module.embedding_dim**-0.5)
        for module in self.modules():
            if isinstance(module, (PairMaps, Readout)):
                module.reset_parameters()
        for block in self.blocks:
            block.modulation.reset_parameters()

    def encode(self, graph: GraphBatch) -> Conditioning:
        """Atom tokens and pair tables of a batch of molecular graphs."""
        hops = self.hop_embedding(graph.hop_values)
        tables = tuple(block.pair_maps(hops) for block in self.blocks)
        displacement = None
        if self.displacement is not None:
            # silu(delta V1) V2 is followed by the linear maps of every block, so V2 merges into them.
            last = self.displacement[2].weight.t()
            displacement = tuple(block.pair_maps(last) for block in self.blocks)
        return Conditioning(graph, self.conditioner(graph), tables, displacement)

    def predict(
        self,
        positions: Tensor,
        t: Tensor,
        conditioning: Conditioning,
        *,
        x1_previous: Tensor | None = None,
        condition_gate: float = 1.0,
        impl: str = "auto",
    ) -> Tensor:
        """The bare network output (T, 3), not centered: x1 in Å, or a velocity in Å per unit time.

        Args:
            positions: (T, 3) in Å.
            t: (B,) in [0, 1], one per molecule.
            conditioning: result of :meth:`encode` for the same batch.
            x1_previous: fed-back estimate (T, 3) in Å; used by networks with ``self_conditioning`` only.
            condition_gate: 1, or 0 to drop the graph condition (classifier-free guidance).
            impl: back-end of the attention operator.
        """
        graph = conditioning.graph
        positions = center(positions, graph)
        if x1_previous is not None and not self.config.self_conditioning:
            raise ValueError("x1_previous was given, but this network was built without self_conditioning")
        index = None
        if self.config.index_encoding:
            index = torch.arange(graph.num_atoms, device=positions.device) - graph.cu_seqlens[graph.molecule]
        state = self.atom_embedding(graph.atomic_numbers, positions, x1_previous, index)
        time = self.time_embedding(t)[graph.molecule]
        condition = condition_gate * conditioning.nodes + time
        for i, block in enumerate(self.blocks):
            pair = self._pair(conditioning, i, positions, condition_gate)
            state = block(state, condition, pair, graph.cu_seqlens, impl)
        return self.readout(state, conditioning.nodes + time)

    def _pair(
        self, conditioning: Conditioning, block: int, positions: Tensor, gate: float
    ) -> TablePair | DisplacementPair:
        table_a, table_b = conditioning.tables[block]
        if gate != 1.0:
            table_a, table_b = gate * table_a, gate * table_b
        index = conditioning.graph.hop_index
        if conditioning.displacement is None:
            return TablePair(index, table_a, table_b)
        weight_a, weight_b = conditioning.displacement[block]
        v1 = self.displacement[0].weight.t()
        return DisplacementPair(positions, v1, weight_a, weight_b, index, table_a, table_b)

    def denoise(self, positions: Tensor, t: Tensor, conditioning: Conditioning, **options) -> Tensor:
        """Centered estimate (T, 3) in Å of the clean positions x1; options as in :meth:`predict`."""
        return self.estimate(positions, t, self.predict(positions, t, conditioning, **options), conditioning.graph)

    def estimate(self, positions: Tensor, t: Tensor, output: Tensor, graph: GraphBatch) -> Tensor:
        """The clean positions that an output of :meth:`predict` or :meth:`forward` stands for, centered (T, 3) in Å."""
        if self.config.target == "velocity":
            output = positions + (1 - t)[graph.molecule].unsqueeze(-1) * output
        return center(output, graph)

    def forward(self, positions: Tensor, t: Tensor, graph: GraphBatch, **options) -> Tensor:
        """Centered output of :meth:`predict` for a freshly encoded batch: what training regresses and distributes."""
        return center(self.predict(positions, t, self.encode(graph), **options), graph)
