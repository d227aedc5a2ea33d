"""Pair attention: attention whose logits and values are modulated, channel by channel, for each pair of atoms."""

from ditkernels.pair_attention.api import available_impls, pair_attention, select_impl
from ditkernels.pair_attention.descriptors import DensePair, DisplacementPair, PairDescriptor, ProjectedPair, TablePair

__all__ = [
    "DensePair",
    "DisplacementPair",
    "PairDescriptor",
    "ProjectedPair",
    "TablePair",
    "available_impls",
    "pair_attention",
    "select_impl",
]
