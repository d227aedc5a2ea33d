"""Rigid motions of batches of molecules: centering, alignment, rotations."""

from __future__ import annotations

import torch
from torch import Tensor

from ditkernels.models.molecule.graph import GraphBatch


def molecule_sum(values: Tensor, graph: GraphBatch) -> Tensor:
    """Sum over the atoms of each molecule: (T, ...) to (B, ...)."""
    shape = (graph.num_molecules, *values.shape[1:])
    return values.new_zeros(shape).index_add(0, graph.molecule, values)


def molecule_mean(values: Tensor, graph: GraphBatch) -> Tensor:
    """Mean over the atoms of each molecule: (T, ...) to (B, ...); 0 for a molecule without atoms."""
    counts = (graph.cu_seqlens[1:] - graph.cu_seqlens[:-1]).clamp(min=1).to(values.dtype)
    return molecule_sum(values, graph) / counts.view(-1, *[1] * (values.dim() - 1))


def center(positions: Tensor, graph: GraphBatch) -> Tensor:
    """Positions (T, 3) less the mean position of each molecule."""
    return positions - molecule_mean(positions, graph)[graph.molecule]


def random_rotations(count: int, generator: torch.Generator | None = None, **factory) -> Tensor:
    """Uniform random rotations (count, 3, 3), from normalized Gaussian quaternions."""
    q = torch.randn(count, 4, generator=generator, **factory)
    w, x, y, z = (q / q.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return torch.stack(rows, dim=-1).view(count, 3, 3)


def rotate(positions: Tensor, rotations: Tensor, graph: GraphBatch) -> Tensor:
    """Apply one rotation (B, 3, 3) to each molecule of positions (T, 3)."""
    return torch.einsum("txy,ty->tx", rotations[graph.molecule], positions)


def kabsch_align(moving: Tensor, target: Tensor, graph: GraphBatch) -> Tensor:
    """Rotate each centered molecule of ``moving`` (T, 3) onto ``target`` (T, 3) with least squared deviation.

    Proper rotations only: the sign of the smallest singular direction is turned where the best orthogonal map
    would be a reflection (Kabsch 1976). Both inputs are taken as centered. No gradient flows.
    """
    with torch.no_grad():
        covariance = molecule_sum(target.unsqueeze(2) * moving.unsqueeze(1), graph)
        u, _, vt = torch.linalg.svd(covariance)
        sign = torch.det(u @ vt)
        correction = torch.ones_like(covariance[:, 0]).index_copy(
            1, torch.tensor([2], device=moving.device), torch.where(sign < 0, -1.0, 1.0).to(moving.dtype).unsqueeze(1)
        )
        return rotate(moving, (u * correction.unsqueeze(1)) @ vt, graph)
