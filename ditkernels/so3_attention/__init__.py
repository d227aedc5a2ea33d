"""SO(3)-equivariant attention: invariant weights, values coupled with the direction of the pair."""

from ditkernels.so3_attention.api import available_impls, select_impl, so3_attention
from ditkernels.so3_attention.descriptors import DenseRadial, RadialBasis, RadialDescriptor

__all__ = ["DenseRadial", "RadialBasis", "RadialDescriptor", "available_impls", "select_impl", "so3_attention"]
