"""What the engine needs of the weights, whatever the batch: packed dense layers, norms, places in its table."""

from __future__ import annotations

from itertools import accumulate

import torch

from ditkernels.atomwise import Dense, GatedMLP, Norm
from ditkernels.models.ditmc.block import DiTBlock
from ditkernels.models.ditmc.equivariant import ATOMS, EquivariantDiTBlock
from ditkernels.models.ditmc.layers import LAYER_NORM_EPS
from ditkernels.models.ditmc.model import DiTMC
from ditkernels.nn import EquivariantLayerNorm, EquivariantLinear
from ditkernels.nn.components import scalar_index
from ditkernels.nn.equivariant_layer_norm import SCALAR_EPS
from ditkernels.so3 import Irreps


class BlockLayers:
    """One block: its layers, its norms, and where its modulations lie in the table of an engine."""

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

    @property
    def projections(self) -> tuple[Dense, Dense, Dense]:
        return self.query, self.key, self.value


class Layers:
    """The blocks of a network and its readout. The weights must not change any more: packed copies are kept."""

    def __init__(self, model: DiTMC) -> None:
        self.model = model
        width, column = model.config.width, 0
        self.blocks: list[BlockLayers] = []
        for block in model.blocks:
            self.blocks.append(BlockLayers(block, width, column))
            column = self.blocks[-1].end
        equivariant = model.config.equivariant
        self.readout_columns = slice(column, column + (width if equivariant else 2 * width))
        self.readout_norm = _norm(model.readout.norm if equivariant else None)


def _dense(layer: torch.nn.Linear | EquivariantLinear) -> Dense:
    if isinstance(layer, EquivariantLinear):
        return Dense(layer.weight, layer.bias, tuple(irrep.dim for irrep in layer.irreps))
    return Dense(layer.weight.unsqueeze(0), layer.bias, (1,))


def _norm(layer: EquivariantLayerNorm | None) -> Norm:
    """None: the layer norm of scalar features."""
    if layer is None:
        return Norm.of(Irreps("0+"), "rms", LAYER_NORM_EPS, LAYER_NORM_EPS)
    return Norm.of(layer.irreps, layer.scale, SCALAR_EPS, layer.eps)
