"""DiTMC: 3D conformers of a molecule by flow matching with a diffusion transformer."""

from ditkernels.models.ditmc.config import DiTMCConfig
from ditkernels.models.ditmc.flow import flow_matching_loss, training_pair
from ditkernels.models.ditmc.model import Conditioning, DiTMC
from ditkernels.models.ditmc.prior import PRIORS, GaussianPrior, HarmonicPrior, harmonic_factor
from ditkernels.models.ditmc.sampler import sample

__all__ = [
    "PRIORS",
    "Conditioning",
    "DiTMC",
    "DiTMCConfig",
    "GaussianPrior",
    "HarmonicPrior",
    "flow_matching_loss",
    "harmonic_factor",
    "sample",
    "training_pair",
]
