"""Random orthogonal maps of space, and what they do to features."""

from __future__ import annotations

import torch

from ditkernels.so3 import Irreps, rotation_matrix


def random_orthogonal(seed=0, determinant=1):
    """A random orthogonal (3, 3) matrix of the given determinant, float64."""
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    q = q * r.diagonal().sign()
    return q * (determinant * torch.det(q).sign())


def turned(x, irreps, orthogonal):
    """Features (..., M, C) in the rotated frame."""
    return torch.einsum("mn,...nc->...mc", rotation_matrix(Irreps(irreps), orthogonal).to(x.dtype), x)
