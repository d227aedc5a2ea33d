"""Attention and pair kernels for molecular diffusion transformers. Importing this package needs torch only."""

from ditkernels.pair_attention import DensePair, DisplacementPair, ProjectedPair, TablePair, pair_attention

__version__ = "0.1.0"

__all__ = ["DensePair", "DisplacementPair", "ProjectedPair", "TablePair", "pair_attention", "__version__"]
