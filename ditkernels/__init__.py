"""Attention and pair kernels for molecular diffusion transformers. Importing this package needs torch only."""

from ditkernels.pair_attention import DensePair, DisplacementPair, ProjectedPair, TablePair, pair_attention
from ditkernels.so3_attention import DenseRadial, RadialBasis, so3_attention

__version__ = "0.1.0"

__all__ = [
    "DensePair",
    "DenseRadial",
    "DisplacementPair",
    "ProjectedPair",
    "RadialBasis",
    "TablePair",
    "pair_attention",
    "so3_attention",
    "__version__",
]
