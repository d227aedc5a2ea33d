"""Feature tensors (..., M, C): the M components of a list of irreps, then C channels."""

from __future__ import annotations

import torch
from torch import Tensor

from ditkernels.so3 import Irrep, Irreps


def scalar_index(irreps: Irreps) -> int | None:
    """Place of the true scalar ("0+", or "0" in a list without parities) in the list; None where there is none."""
    scalar = Irrep(0, 1 if irreps.labelled else 0)
    return next((place for place, irrep in enumerate(irreps) if irrep == scalar), None)


def check_features(name: str, x: Tensor, irreps: Irreps, channels: int | None = None) -> None:
    """Raise ValueError unless x has the components of ``irreps`` and, where given, the number of channels."""
    if x.dim() < 2 or x.shape[-2] != irreps.dim or channels not in (None, x.shape[-1]):
        expected = f"(..., {irreps.dim}, {'C' if channels is None else channels})"
        raise ValueError(f"{name} must have shape {expected} for irreps {irreps}, got {tuple(x.shape)}")


def join(pieces: list[Tensor]) -> Tensor:
    """One feature tensor from one piece (..., 2l+1, C) per irrep."""
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-2)


def scale_irreps(x: Tensor, factors: Tensor, irreps: Irreps) -> Tensor:
    """Multiply every irrep of x (..., M, C) by its own factors (..., len(irreps), C), the same for its components."""
    return join([x[..., s, :] * factors[..., i : i + 1, :] for i, s in enumerate(irreps.slices)])


def modulate_irreps(x: Tensor, scale: Tensor, shift: Tensor, irreps: Irreps) -> Tensor:
    """(1 + scale) * x for every irrep, and + shift on the true scalar, the only one that may be shifted.

    x: (..., M, C); scale: (..., len(irreps), C); shift: (..., C)
    """
    pieces = [x[..., s, :] * (1.0 + scale[..., i : i + 1, :]) for i, s in enumerate(irreps.slices)]
    scalar = scalar_index(irreps)
    if scalar is None:
        raise ValueError(f"irreps must hold a true scalar to be shifted, got {irreps}")
    pieces[scalar] = pieces[scalar] + shift.unsqueeze(-2)
    return join(pieces)


def select_irreps(x: Tensor, source: Irreps, target: Irreps) -> Tensor:
    """The irreps ``target`` of features x (..., M, C) over ``source``; those that x does not have are 0."""
    if source == target:
        return x
    place = {irrep: components for irrep, components in zip(source, source.slices, strict=True)}
    zeros = {irrep: x.new_zeros(*x.shape[:-2], irrep.dim, x.shape[-1]) for irrep in target if irrep not in place}
    return join([zeros[irrep] if irrep in zeros else x[..., place[irrep], :] for irrep in target])
