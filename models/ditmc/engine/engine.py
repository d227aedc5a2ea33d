"""One network evaluated on one batch, step after step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ditkernels.atomwise import residual_norm_
from ditkernels.models.ditmc.engine.inputs import Inputs
from ditkernels.models.ditmc.engine.layers import BlockLayers, Layers
from ditkernels.models.ditmc.equivariant import POSITIONS
from ditkernels.models.ditmc.geometry import center
from ditkernels.models.ditmc.layers import LAYER_NORM_EPS
from ditkernels.pair_attention import pair_attention
from ditkernels.so3_attention import RadialBasis, so3_attention


class Engine:
    """Evaluates a network on one batch. The function is that of :meth:`DiTMC.denoise`, up to rounding.

    Per time and distinct molecule: the adaLN modulations, shared by all conformers of the molecule. Per step: dense
    layers and MLPs over packed weights, attention, and one pass over the atoms between two of them
    (:mod:`ditkernels.atomwise`), in buffers that stay.

    Args:
        layers: of the network.
        inputs: the batch, one entry per conformer.
        impl: back-end of the attention operator.
    """

    @torch.inference_mode()
    def __init__(self, layers: Layers, inputs: Inputs, impl: str = "auto") -> None:
        self.layers, self.inputs, self.impl = layers, inputs, impl
        self.model, self.blocks, self.graph = layers.model, layers.blocks, inputs.graph
        atoms = len(inputs.nodes)
        self.table = inputs.nodes.new_empty(atoms, layers.readout_columns.stop)
        self.own_rows = torch.arange(atoms, dtype=inputs.rows.dtype, device=inputs.rows.device)
        self.buffers: dict[tuple, Tensor] = {}

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
            self.blocks, [*self.blocks[1:], None], self.inputs.pairs.descriptors(positions, gate), strict=True
        ):
            state, x = self._block(block, after, state, tokens, pair)
            tokens = None if after is None else self._tokens(after, x)
        return self._readout(state, x)

    def _start(self, positions: Tensor, x1_previous: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """The first state, and what the first attention takes of it: queries, keys and values."""
        inputs, first, width = self.inputs, self.blocks[0], self.model.config.width
        rows = inputs.rows
        state, x = self._buffer("state", 1, width), self._buffer("x", 1, width)
        options = {"scale": first.scale1, "shift": first.shift1}
        if inputs.start is None:
            state[:, 0] = self.model.atom_embedding(self.graph.atomic_numbers, positions, x1_previous, inputs.index)
            residual_norm_(state, self.table, rows, first.attention_norm, out=x, **options)
            return state, self._tokens(first, x)
        x = x[: len(inputs.start)]
        residual_norm_(inputs.start, self.table, self.own_rows, first.attention_norm, out=x, **options)
        torch.index_select(inputs.start, 0, rows, out=state)
        tokens = self._tokens(first, x, "shared")
        return state, [
            torch.index_select(token, 0, rows, out=self._buffer(f"token{i}", 1, width))
            for i, token in enumerate(tokens)
        ]

    def _tokens(self, block: BlockLayers, x: Tensor, name: str = "token") -> list[Tensor]:
        """Queries, keys and values of the atoms of x (., M, C)."""
        atoms, size, width = x.shape
        return [layer(x, self._buffer(f"{name}{i}", size, width)[:atoms]) for i, layer in enumerate(block.projections)]

    def _modulate(self, t: Tensor, gate: float) -> None:
        """Fill the table of modulations: one row per atom of the distinct molecules."""
        model, nodes = self.model, self.inputs.nodes
        time = model.time_embedding(t)
        condition = torch.add(time, nodes, alpha=gate)
        unit = F.layer_norm(condition, condition.shape[-1:], eps=LAYER_NORM_EPS)
        for block in self.blocks:
            norm = block.block.condition_norm
            activated = F.silu(torch.addcmul(norm.bias, unit, norm.weight))
            columns = self.table[:, block.columns]
            block.modulation(activated.unsqueeze(1), columns.unsqueeze(1), with_bias=True)
        readout = model.readout
        condition = nodes + time
        if model.config.equivariant:
            condition = readout.condition_norm(condition)
        layer, columns = readout.modulation, self.table[:, self.layers.readout_columns]
        torch.addmm(layer.bias, condition, layer.weight.t(), out=columns)
        F.silu(columns, inplace=True)

    def _block(
        self, block: BlockLayers, after: BlockLayers | None, state: Tensor, tokens: list[Tensor], pair
    ) -> tuple[Tensor, Tensor]:
        """The state after a block, and what the next one's projections (or a scalar readout) take."""
        table, rows, width = self.table, self.inputs.rows, state.shape[-1]
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
            shift = self.layers.readout_columns.start
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

    def _attention(self, block: BlockLayers, tokens: list[Tensor], pair) -> Tensor:
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

    def _extended(self, state: Tensor, block: BlockLayers) -> Tensor:
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
        first = self.layers.readout_columns.start
        residual_norm_(vectors, self.table, self.inputs.rows, self.layers.readout_norm, scale=first, shift=first, out=x)
        return (x @ readout.output.weight.t()).squeeze(-1)

    def _buffer(self, name: str, components: int, width: int) -> Tensor:
        """A tensor (T, components, width) that keeps its place from step to step."""
        key = (name, components, width)
        if key not in self.buffers:
            self.buffers[key] = self.inputs.nodes.new_empty(self.graph.num_atoms, components, width)
        return self.buffers[key]
