"""Layers built on the operators, for use in any model."""

from ditkernels.nn.ada_ln_zero import AdaLNZero, layer_norm, modulate
from ditkernels.nn.pair_attention import PairAttention

__all__ = ["AdaLNZero", "PairAttention", "layer_norm", "modulate"]
