"""Rotations of irreps: real Wigner matrices in the basis of :mod:`ditkernels.so3.harmonics`."""

from __future__ import annotations

import torch
from torch import Tensor

from ditkernels.so3.clebsch_gordan import clebsch_gordan
from ditkernels.so3.irreps import Irreps
from ditkernels.so3.tables import MAX_DEGREE


def wigner_d(rotation: Tensor, degree: int) -> Tensor:
    """D (..., 2l+1, 2l+1) with Y_l(R v) = D Y_l(v), of orthogonal matrices R (..., 3, 3), for degree 0, 1 or 2.

    Degree 2 is the symmetric traceless part of R x R. An improper R (determinant -1) gives the representation of
    natural parity (-1)^l, for which the equation holds too. Differentiable; the matrices are not checked.

    Raises ValueError for another degree or shape.
    """
    if degree not in range(MAX_DEGREE + 1):
        raise ValueError(f"degree must be 0, 1 or 2, got {degree!r}")
    if rotation.shape[-2:] != (3, 3) or not rotation.is_floating_point():
        raise ValueError(f"rotation: expected floating (..., 3, 3), got {rotation.dtype} {tuple(rotation.shape)}")
    if degree == 0:
        return torch.ones_like(rotation[..., :1, :1])
    if degree == 1:
        return rotation
    coupling = clebsch_gordan(1, 1, 2, dtype=rotation.dtype, device=rotation.device)
    return torch.einsum("abm,...ac,...bd,cdn->...mn", coupling, rotation, rotation, coupling)


def rotation_matrix(irreps: Irreps | str, orthogonal: Tensor) -> Tensor:
    """How a rotation or reflection acts on the components of a feature tensor (..., M, C): (M, M), block diagonal.

    orthogonal: (3, 3), acts on positions as r -> orthogonal r. An inversion multiplies an irrep by its parity; lists
        without parity labels take rotations only.

    Raises ValueError if the matrix is not orthogonal, or improper although the irreps have no labels.
    """
    irreps = Irreps(irreps)
    if orthogonal.shape != (3, 3) or not orthogonal.is_floating_point():
        raise ValueError(f"orthogonal: expected floating (3, 3), got {orthogonal.dtype} {tuple(orthogonal.shape)}")
    if not torch.allclose(orthogonal @ orthogonal.mT, torch.eye(3).to(orthogonal), rtol=0, atol=1e-4):
        raise ValueError("orthogonal: the rows must be orthonormal to 1e-4")
    improper = bool(torch.linalg.det(orthogonal) < 0)
    if improper and not irreps.labelled:
        raise ValueError(f'orthogonal: a reflection does not act on irreps without parity labels, "{irreps}"')
    blocks = []
    for degree, parity in irreps:
        sign = parity * (-1) ** degree if improper else 1  # against the natural parity
        blocks.append(sign * wigner_d(orthogonal, degree))
    return torch.block_diag(*blocks)
