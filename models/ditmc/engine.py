"""The network evaluated many times on one batch: every number that does not change is computed once.

Per batch: the conditioner, the tables of pairs, merged projections, and the buffers of all steps. Per time and distinct
molecule: the adaLN modulations, shared by all conformers of the molecule. Per step: dense layers and MLPs over packed
weights, attention, and one pass over the atoms between two of them (:mod:`ditkernels.atomwise`). The function is that
of :meth:`DiTMC.denoise`, up to rounding.
"""

from __future__ import annotations

from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from ditkernels.atomwise import Dense, GatedMLP, Norm, residual_norm_
from ditkernels.models.ditmc.block import DiTBlock
from ditkernels.models.ditmc.equivariant import ATOMS, POSITIONS, EquivariantDiTBlock
from ditkernels.models.ditmc.geometry import center
from ditkernels.models.ditmc.layers import LAYER_NORM_EPS
from ditkernels.models.ditmc.model import DiTMC
from ditkernels.models.molecule.graph import GraphBatch
from ditkernels.models.molecule.repeats import distinct
from ditkernels.nn import EquivariantLayerNorm, EquivariantLinear
from ditkernels.nn.components import scalar_index
from ditkernels.nn.equivariant_layer_norm import SCALAR_EPS
from ditkernels.pair_attention import pair_attention
from ditkernels.so3 import Irreps
from ditkernels.so3_attention import RadialBasis, so3_attention


class _Block:
    """One block: its layers, its norms, and where its modulations lie in the table of the engine."""

    def __init__(self, block: DiTBlock | EquivariantDiTBlock, width: int, column: int) -> None:
        equivariant = isinstance(block, EquivariantDiTBlock)
        self.block, self.attention = block, block.attention
        self.irreps_in = block.irreps_in if equivariant else ATOMS
        self.irreps = block.irreps if equivariant else ATOMS
        inner, outer = len(self.irreps_in), len(self.irreps)
        rows = (inner, 1, outer, outer, 1, outer)
        *columns, self.end = accumulate((size * width for size in rows), initial=column)
        self.scale1, self.shift1, self.gate1, self.scale2, self.shift2, self.gate2 = columns
        self.columns = slice(column, self.end)
        self.modulation = _dense(block.modulation.linear)
        self.query, self.key, self.value, self.out = (
            _dense(getattr(block.attention, name)) for name in ("query", "key", "value", "out")
        )
        up, down = (block.mlp.up, block.mlp.down) if equivariant else (block.mlp[0], block.mlp[2])
        self.mlp = GatedMLP(_dense(up), _dense(down), scalar_index(self.irreps))
        self.attention_norm = _norm(block.attention_norm if equivariant else None)
        self.mlp_norm = _norm(block.mlp_norm if equivariant else None)
        self.broadcast = equivariant and block.broadcast


class Engine:
    """Evaluates a network on one batch; see the module.

    Args:
        model: the network.
        graph: the batch, one entry per conformer.
        impl: back-end of the attention operator.
    """

    @torch.inference_mode()
    def __init__(self, model: DiTMC, graph: GraphBatch, impl: str = "auto") -> None:
        self.model, self.graph, self.impl = model, graph, impl
        config, width = model.config, model.config.width
        molecules = distinct(graph)
        self.rows = molecules.atoms
        self.nodes, edges = model.conditioner(molecules.graph)
        kind = model.pair_conditioning
        index = kind.index(molecules.graph)[molecules.pairs]
        self.pairs = model.pairs(kind.tokens(molecules.graph, edges), index)
        self.blocks: list[_Block] = []
        column = 0
        for block in model.blocks:
            self.blocks.append(_Block(block, width, column))
            column = self.blocks[-1].end
        self.readout_columns = slice(column, column + (width if config.equivariant else 2 * width))
        self.table = self.nodes.new_empty(self.nodes.shape[0], self.readout_columns.stop)
        self.readout_norm = _norm(model.readout.norm if config.equivariant else None)
        self.buffers: dict[tuple, Tensor] = {}
        self.index = graph.atom_index() if config.index_encoding else None
        self.start = self._shared_start(molecules.graph)
        self.own_rows = torch.arange(molecules.graph.num_atoms, dtype=self.rows.dtype, device=self.rows.device)

    def _shared_start(self, graph: GraphBatch) -> Tensor | None:
        """The first state (U, 1, F) of the distinct molecules, where it does not depend on positions; then all
        conformers share the first queries, keys and values.
        """
        embedding = self.model.atom_embedding
        if embedding.position is not None or embedding.feedback is not None:
            return None
        index = None if self.index is None else graph.atom_index()
        nowhere = self.nodes.new_zeros(graph.num_atoms, 3)
        return embedding(graph.atomic_numbers, nowhere, None, index).unsqueeze(1)

    @torch.inference_mode()
    def denoise(
        self, positions: Tensor, t: float | Tensor, *, x1_previous: Tensor | None = None, gate: float = 1.0
    ) -> Tensor:
        """What :meth:`DiTMC.denoise` returns for the same arguments, with one time t for all molecules: a number, or a
        tensor (1,), which a CUDA graph reads at every replay.
        """
        time = t if isinstance(t, Tensor) else positions.new_full((1,), t)
        output = self.predict(positions, time, x1_previous, gate)
        return self.model.estimate(positions, time.expand(self.graph.num_molecules), output, self.graph)

    def predict(self, positions: Tensor, t: Tensor, x1_previous: Tensor | None, gate: float) -> Tensor:
        """The bare network output (T, 3) at a time t (1,), see :meth:`DiTMC.predict`."""
        positions = center(positions, self.graph)
        self._modulate(t, gate)
        state, tokens = self._start(positions, x1_previous)
        for block, after, pair in zip(
            self.blocks, [*self.blocks[1:], None], self.pairs.descriptors(positions, gate), strict=True
        ):
            state, x = self._block(block, after, state, tokens, pair)
            tokens = None if after is None else self._tokens(after, x)
        return self._readout(state, x)

    def _start(self, positions: Tensor, x1_previous: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """The first state, and what the first attention takes of it: queries, keys and values."""
        first, rows, width = self.blocks[0], self.rows, self.model.config.width
        state, x = self._buffer("state", 1, width), self._buffer("x", 1, width)
        options = {"scale": first.scale1, "shift": first.shift1}
        if self.start is None:
            state[:, 0] = self.model.atom_embedding(self.graph.atomic_numbers, positions, x1_previous, self.index)
            residual_norm_(state, self.table, rows, first.attention_norm, out=x, **options)
            return state, self._tokens(first, x)
        x = x[: len(self.start)]
        residual_norm_(self.start, self.table, self.own_rows, first.attention_norm, out=x, **options)
        torch.index_select(self.start, 0, rows, out=state)
        tokens = self._tokens(first, x, "shared")
        return state, [
            torch.index_select(token, 0, rows, out=self._buffer(f"token{i}", 1, width))
            for i, token in enumerate(tokens)
        ]

    def _tokens(self, block: _Block, x: Tensor, name: str = "token") -> list[Tensor]:
        """Queries, keys and values of the atoms of x (., M, C)."""
        atoms, size, width = x.shape
        return [
            layer(x, self._buffer(f"{name}{i}", size, width)[:atoms])
            for i, layer in enumerate(self._projections(block))
        ]

    def _modulate(self, t: Tensor, gate: float) -> None:
        """Fill the table of modulations: one row per atom of the distinct molecules."""
        model = self.model
        time = model.time_embedding(t)
        condition = torch.add(time, self.nodes, alpha=gate)
        unit = F.layer_norm(condition, condition.shape[-1:], eps=LAYER_NORM_EPS)
        for block in self.blocks:
            norm = block.block.condition_norm
            activated = F.silu(torch.addcmul(norm.bias, unit, norm.weight))
            columns = self.table[:, block.columns]
            block.modulation(activated.unsqueeze(1), columns.unsqueeze(1), with_bias=True)
        readout = model.readout
        condition = self.nodes + time
        if model.config.equivariant:
            condition = readout.condition_norm(condition)
        layer, columns = readout.modulation, self.table[:, self.readout_columns]
        torch.addmm(layer.bias, condition, layer.weight.t(), out=columns)
        F.silu(columns, inplace=True)

    def _block(
        self, block: _Block, after: _Block | None, state: Tensor, tokens: list[Tensor], pair
    ) -> tuple[Tensor, Tensor]:
        """The state after a block, and what the next one's projections (or a scalar readout) take."""
        table, rows, width = self.table, self.rows, state.shape[-1]
        attended = self._attention(block, tokens, pair)
        update = block.out(attended, self._buffer("update", attended.shape[1], width))
        bias = block.out.bias
        if block.broadcast:  # the bias goes into both copies of the scalar
            update[:, 0] += bias
            update, bias = torch.cat((update, update), dim=1), None
        state = self._extended(state, block)
        x = self._buffer("x", state.shape[1], width)
        residual_norm_(
            state,
            table,
            rows,
            block.mlp_norm,
            update=update,
            bias=bias,
            gate=block.gate1,
            scale=block.scale2,
            shift=block.shift2,
            out=x,
        )
        update = block.mlp(x, self._buffer("update", x.shape[1], width))
        if after is not None:
            norm, scale, shift = after.attention_norm, after.scale1, after.shift1
        else:  # a scalar readout has its shift first; an equivariant one norms what it reads itself
            shift = self.readout_columns.start
            norm, scale = block.mlp_norm, shift + (0 if self.model.config.equivariant else width)
        last_of_equivariant = after is None and self.model.config.equivariant
        residual_norm_(
            state,
            table,
            rows,
            norm,
            update=update,
            bias=block.mlp.down.bias,
            gate=block.gate2,
            scale=scale,
            shift=shift,
            out=None if last_of_equivariant else x,
        )
        return state, x

    def _projections(self, block: _Block) -> tuple[Dense, Dense, Dense]:
        return block.query, block.key, block.value

    def _attention(self, block: _Block, tokens: list[Tensor], pair) -> Tensor:
        """(T, M, F) of the attention's output irreps."""
        layer = block.attention
        options = {"cu_seqlens": self.graph.cu_seqlens, "exclude_self": True, "impl": self.impl}
        if not self.model.config.equivariant:
            query, key, value = (x.squeeze(1).unflatten(-1, (layer.heads, -1)) for x in tokens)
            return pair_attention(query, key, value, pair, **options).flatten(-2).unsqueeze(1)
        query, key, value = (x.unflatten(-1, (layer.heads, -1)) for x in tokens)
        radial = RadialBasis(
            layer.radial,
            layer.weight_a,
            layer.weight_g,
            cutoff=layer.cutoff,
            index=pair.index,
            scaling=pair.scaling,
        )
        irreps = {"irreps_qk": layer.irreps_in, "irreps_v": layer.irreps_in, "irreps_out": layer.irreps_out}
        tensors = (query, key, value, pair.positions, layer.path_weight, radial)
        return so3_attention(*tensors, **irreps, **options).flatten(-2)

    def _extended(self, state: Tensor, block: _Block) -> Tensor:
        """The state over the irreps that a block writes; those that it did not have are 0."""
        if block.irreps == block.irreps_in:
            return state
        wider = self._buffer("state", block.irreps.dim, state.shape[-1])
        wider.zero_()
        places = dict(zip(block.irreps, block.irreps.slices, strict=True))
        for irrep, components in zip(block.irreps_in, block.irreps_in.slices, strict=True):
            if irrep in places:
                wider[:, places[irrep]] = state[:, components]
        return wider

    def _readout(self, state: Tensor, x: Tensor) -> Tensor:
        """(T, 3), not centered."""
        readout = self.model.readout
        if not self.model.config.equivariant:
            return torch.addmm(readout.output.bias, x.squeeze(1), readout.output.weight.t())
        vectors = sum(state[:, components] for components in readout.vectors).contiguous()
        x = self._buffer("x", POSITIONS.dim, state.shape[-1])
        first = self.readout_columns.start
        residual_norm_(vectors, self.table, self.rows, self.readout_norm, scale=first, shift=first, out=x)
        return (x @ readout.output.weight.t()).squeeze(-1)

    def _buffer(self, name: str, components: int, width: int) -> Tensor:
        """A tensor (T, components, width) that keeps its place from step to step."""
        key = (name, components, width)
        if key not in self.buffers:
            self.buffers[key] = self.nodes.new_empty(self.graph.num_atoms, components, width)
        return self.buffers[key]


def _dense(layer: torch.nn.Linear | EquivariantLinear) -> Dense:
    if isinstance(layer, EquivariantLinear):
        return Dense(layer.weight, layer.bias, tuple(irrep.dim for irrep in layer.irreps))
    return Dense(layer.weight.unsqueeze(0), layer.bias, (1,))


def _norm(layer: EquivariantLayerNorm | None) -> Norm:
    """None: the layer norm of scalar features."""
    if layer is None:
        return Norm.of(Irreps("0+"), "rms", LAYER_NORM_EPS, LAYER_NORM_EPS)
    return Norm.of(layer.irreps, layer.scale, SCALAR_EPS, layer.eps)
