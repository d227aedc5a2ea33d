"""What a transformer block does to single atoms, in few passes over memory: for inference."""

from ditkernels.atomwise.api import Norm, gated_gelu_, residual_norm_
from ditkernels.atomwise.dense import Dense, GatedMLP

__all__ = ["Dense", "GatedMLP", "Norm", "gated_gelu_", "residual_norm_"]
