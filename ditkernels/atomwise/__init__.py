"""What lies between the matrix products of a transformer block, in one pass over memory: for inference."""

from ditkernels.atomwise.api import Norm, gated_gelu_, residual_norm_

__all__ = ["Norm", "gated_gelu_", "residual_norm_"]
