"""Conformer generation: batching, sampling, stereochemistry checks, pruning, and the resumable job behind
`ditkernels conformers`.
"""

from ditkernels.models.generation.api import GenerationError, generate_conformers
from ditkernels.models.generation.options import GenerationOptions
from ditkernels.models.generation.pipeline import ConformerPipeline, Outcome

__all__ = ["ConformerPipeline", "GenerationError", "GenerationOptions", "Outcome", "generate_conformers"]
