"""What happens to sampled positions: stereochemistry, mirror images, relaxation, duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from ditkernels.models.generation.tasks import Task
from ditkernels.models.molecule.relax import relax
from ditkernels.models.molecule.stereo import MIRROR, OK, check_stereo, mirror

MAX_SYMMETRY_MATCHES = 10_000
"""Automorphisms tried per pair of conformers when duplicates are dropped."""


@dataclass(frozen=True)
class Conformer:
    """Positions (n, 3) float32 in Angstrom; sample counts from 0; MMFF94 energy in kcal/mol, None without one."""

    positions: np.ndarray
    sample: int
    attempt: int
    mirrored: bool = False
    energy: float | None = None
    converged: bool | None = None


def judge(task: Task, candidates: Sequence[Conformer], minimize: str) -> list[Conformer | str]:
    """For every candidate its accepted form (mirrored, relaxed), or the reason why it is rejected."""
    verdicts = _right_stereo(task, candidates)
    if minimize == "mmff":
        relaxed = [_relax(task, verdict) if isinstance(verdict, Conformer) else verdict for verdict in verdicts]
        verdicts = [_still_right(task, verdict) if isinstance(verdict, Conformer) else verdict for verdict in relaxed]
    return verdicts


def _right_stereo(task: Task, candidates: Sequence[Conformer]) -> list[Conformer | str]:
    finite = [np.isfinite(candidate.positions).all() for candidate in candidates]
    positions = np.stack([np.where(ok, candidate.positions, 0.0) for ok, candidate in zip(finite, candidates)])
    verdicts: list[Conformer | str] = []
    for candidate, ok, check in zip(candidates, finite, check_stereo(task.stereo, positions)):
        if not ok:
            verdicts.append("coordinates that are no numbers")
        elif check.status == OK:
            verdicts.append(candidate)
        elif check.status == MIRROR:
            verdicts.append(replace(candidate, positions=mirror(candidate.positions), mirrored=True))
        else:
            verdicts.append(f"wrong stereochemistry at {', '.join(check.wrong)}")
    return verdicts


def _relax(task: Task, conformer: Conformer) -> Conformer | str:
    mol = with_conformers(task.mol, [conformer])
    relaxed = relax(mol)
    if relaxed is None:
        return "a failed MMFF94 minimization"
    energy, converged = relaxed
    positions = mol.GetConformer().GetPositions().astype(np.float32)
    return replace(conformer, positions=positions, energy=energy, converged=converged)


def _still_right(task: Task, conformer: Conformer) -> Conformer | str:
    [check] = check_stereo(task.stereo, conformer.positions[None])
    return conformer if check.status == OK else f"stereochemistry lost by the minimization at {', '.join(check.wrong)}"


def with_conformers(mol: Chem.Mol, conformers: Sequence[Conformer]) -> Chem.Mol:
    """Copy of `mol` with the conformers, whose ids are their sample numbers."""
    mol = Chem.Mol(mol)
    mol.RemoveAllConformers()
    for conformer in conformers:
        coordinates = Chem.Conformer(mol.GetNumAtoms())
        coordinates.Set3D(True)
        coordinates.SetId(conformer.sample)
        coordinates.SetPositions(conformer.positions.astype(np.float64))
        mol.AddConformer(coordinates)
    return mol


def prune(task: Task, conformers: Sequence[Conformer], threshold: float) -> list[Conformer]:
    """The conformers, in order, that lie further than `threshold` from every kept one.

    The distance is the RMS deviation of heavy atoms in Angstrom, least over symmetry and rigid motion.
    """
    heavy = Chem.RemoveHs(with_conformers(task.mol, conformers))
    probe = Chem.Mol(heavy)
    kept: list[Conformer] = []
    for conformer in conformers:
        distances = (
            rdMolAlign.GetBestRMS(probe, heavy, conformer.sample, other.sample, maxMatches=MAX_SYMMETRY_MATCHES)
            for other in kept
        )
        if all(distance > threshold for distance in distances):
            kept.append(conformer)
    return kept
