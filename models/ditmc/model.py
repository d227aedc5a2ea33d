"""DiTMC: a diffusion transformer that predicts the atom positions of a conformer (arXiv 2506.15378)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ditkernels.models.ditmc.block import DiTBlock, PairMaps, Readout
from ditkernels.models.ditmc.conditioner import Conditioner
from ditkernels.models.ditmc.config import DiTMCConfig
from ditkernels.models.ditmc.embeddings import AtomEmbedding, TimeEmbedding
from ditkernels.models.ditmc.equivariant import EquivariantReadout, equivariant_blocks
from ditkernels.models.ditmc.geometry import center
from ditkernels.models.ditmc.layers import MLP, lecun_
from ditkernels.models.ditmc.pair_conditioning import (
    BondEmbedding,
    BondScaling,
    HopEmbedding,
    HopScaling,
    PairConditioning,
)
from ditkernels.models.ditmc.pairs import DirectionPairs, DisplacementPairs, Pairs, TokenPairs
from ditkernels.models.molecule.graph import GraphBatch
from ditkernels.nn import (
    AdaLNZero,
    EquivariantAdaLNZero,
    EquivariantLinear,
    SO3Attention,
    recomputed,
    truncated_normal_,
)

OWN_START = (
    *(AdaLNZero, EquivariantAdaLNZero, EquivariantLinear, SO3Attention),
    *(BondEmbedding, HopScaling, PairMaps, Readout, EquivariantReadout),
)
"""Modules that know their initial weights better than their dense layers do."""

RECOMPUTE = ("none", "hidden", "blocks")
"""What :meth:`DiTMC.set_recompute` takes."""


@dataclass(frozen=True)
class Conditioning:
    """What the network knows of a batch before it sees time or positions; reusable over all sampling steps.

    Attributes:
        graph: the batch.
        nodes: atom tokens c^G (T, F).
        pairs: what the blocks learn of atom pairs.
    """

    graph: GraphBatch
    nodes: Tensor
    pairs: Pairs


class DiTMC(nn.Module):
    """Conformer network with scalar features (aPE or rPE) or equivariant ones (PE(3)), and all-pair or bond-pair
    conditioning.

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
        # One of the two; each has its own name among the weights.
        self.hop_embedding = self.bond_embedding = None
        radial = (config.degree + 1, config.basis_size)
        if config.conditioning == "all-pair":
            self.hop_embedding = HopScaling(*radial) if config.equivariant else HopEmbedding(width)
        else:
            self.bond_embedding = BondScaling(width, *radial) if config.equivariant else BondEmbedding(width)
        self.displacement = MLP(3, width, width, bias=False) if config.embedding == "rpe" else None
        if config.equivariant:
            self.blocks = nn.ModuleList(equivariant_blocks(config))
            self.readout = EquivariantReadout(self.blocks[-1].irreps, config)
        else:
            self.blocks = nn.ModuleList(DiTBlock(width, config.heads) for _ in range(config.blocks))
            self.readout = Readout(width)
        self.set_recompute("none")
        self.reset_parameters()

    def set_recompute(self, kind: str) -> None:
        """What the backward pass makes again instead of keeping it from the forward pass: less memory, same gradients.

        ``"none"``; ``"hidden"``: the hidden layers (4 F) of the blocks' MLPs, the widest tensors with a row for each
        atom; ``"blocks"``: all that a block computes but its result. Tensors with a row for each pair are never kept.

        Raises ValueError for anything else.
        """
        if kind not in RECOMPUTE:
            raise ValueError(f"recompute must be one of {', '.join(RECOMPUTE)}, got {kind!r}")
        self.recompute_blocks = kind == "blocks"
        for block in self.blocks:
            block.mlp.recompute = kind == "hidden"

    def reset_parameters(self) -> None:
        """Initial weights as in the released model: truncated LeCun normal, zero biases and adaLN-Zero gates."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                lecun_(module)
            elif isinstance(module, nn.Embedding):
                truncated_normal_(module.weight, module.embedding_dim**-0.5)
        for module in self.modules():
            if isinstance(module, OWN_START):
                module.reset_parameters()

    @property
    def pair_conditioning(self) -> PairConditioning:
        """The kind of graph tokens of pairs that the configuration asks for."""
        return self.bond_embedding if self.hop_embedding is None else self.hop_embedding

    def encode(self, graph: GraphBatch) -> Conditioning:
        """Atom tokens and pair tables of a batch of molecular graphs."""
        nodes, edges = self.conditioner(graph)
        tokens, index = self.pair_conditioning.tokens(graph, edges), self.pair_conditioning.index(graph)
        return Conditioning(graph, nodes, self.pairs(tokens, index))

    def pairs(self, tokens: Tensor, index: Tensor) -> Pairs:
        """What the blocks learn of pairs, from graph tokens (S, F') and the row of every pair (P,)."""
        if self.config.equivariant:
            return DirectionPairs(index, tokens.unflatten(-1, (self.config.degree + 1, -1)), len(self.blocks))
        tables = tuple(block.pair_maps(tokens) for block in self.blocks)
        if self.displacement is None:
            return TokenPairs(index, tables)
        # silu(delta V1) V2 is followed by the linear maps of every block, so V2 merges into them.
        first, last = self.displacement[0].weight.t(), self.displacement[2].weight.t()
        return DisplacementPairs(index, tables, first, tuple(block.pair_maps(last) for block in self.blocks))

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
        index = graph.atom_index() if self.config.index_encoding else None
        state = self.atom_embedding(graph.atomic_numbers, positions, x1_previous, index)
        time = self.time_embedding(t)[graph.molecule]
        condition = condition_gate * conditioning.nodes + time
        if self.config.equivariant:
            state = state.unsqueeze(-2)  # (T, 1, F): a scalar each
        for block, pair in zip(self.blocks, conditioning.pairs.descriptors(positions, condition_gate), strict=True):
            arguments = (state, condition, pair, graph.cu_seqlens, impl)
            state = recomputed(block, *arguments) if self.recompute_blocks else block(*arguments)
        return self.readout(state, conditioning.nodes + time)

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
