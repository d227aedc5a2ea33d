"""Layers built on the operators, for use in any model."""

from ditkernels.nn.ada_ln_zero import AdaLNZero, layer_norm, modulate
from ditkernels.nn.components import modulate_irreps, scale_irreps, select_irreps
from ditkernels.nn.equivariant_ada_ln_zero import EquivariantAdaLNZero
from ditkernels.nn.equivariant_gated_mlp import EquivariantGatedMLP
from ditkernels.nn.equivariant_layer_norm import EquivariantLayerNorm
from ditkernels.nn.equivariant_linear import EquivariantLinear
from ditkernels.nn.initialization import truncated_normal_
from ditkernels.nn.pair_attention import PairAttention
from ditkernels.nn.recompute import recomputed
from ditkernels.nn.so3_attention import SO3Attention
from ditkernels.nn.so3_block import SO3Block

__all__ = [
    "AdaLNZero",
    "EquivariantAdaLNZero",
    "EquivariantGatedMLP",
    "EquivariantLayerNorm",
    "EquivariantLinear",
    "PairAttention",
    "SO3Attention",
    "SO3Block",
    "layer_norm",
    "modulate",
    "modulate_irreps",
    "recomputed",
    "scale_irreps",
    "select_irreps",
    "truncated_normal_",
]
