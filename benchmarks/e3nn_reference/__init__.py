"""SO(3) attention as one writes it with e3nn: what the fused operator is compared with, and tested against."""

from benchmarks.composition import Pairs
from benchmarks.e3nn_reference.so3_attention import MODES, E3nnAttention, E3nnComposition, from_native, to_native

__all__ = ["MODES", "E3nnAttention", "E3nnComposition", "Pairs", "from_native", "to_native"]
