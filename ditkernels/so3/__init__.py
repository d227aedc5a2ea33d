"""SO(3) in one internal convention: irreps, harmonics, Clebsch-Gordan coefficients, rotations, radial bases."""

from ditkernels.so3.clebsch_gordan import clebsch_gordan
from ditkernels.so3.harmonics import spherical_harmonics, spherical_harmonics_with_gradient
from ditkernels.so3.irreps import Irrep, Irreps, Path, paths
from ditkernels.so3.radial import RADIAL_BASES, polynomial_cutoff, radial_basis
from ditkernels.so3.wigner import rotation_matrix, wigner_d

__all__ = [
    "RADIAL_BASES",
    "Irrep",
    "Irreps",
    "Path",
    "clebsch_gordan",
    "paths",
    "polynomial_cutoff",
    "radial_basis",
    "rotation_matrix",
    "spherical_harmonics",
    "spherical_harmonics_with_gradient",
    "wigner_d",
]
