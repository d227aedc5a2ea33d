"""What to generate and how, apart from the network and the device."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ditkernels.models.ditmc.prior import PRIORS
from ditkernels.models.ditmc.sampler import GRIDS, METHODS

MAX_PAIRS_PER_ATOM = 64
"""Default pair budget per atom of a batch: batches of molecules above 64 atoms are limited by their pairs."""

MINIMIZERS = ("none", "mmff")


@dataclass(frozen=True)
class GenerationOptions:
    """Options of one run. Raises ValueError for a value out of range.

    Attributes:
        conformers: conformers asked for per molecule.
        seed: base of the random streams; together with record, sample and attempt number it fixes the prior noise of
            a conformer.
        steps, grid, method: intervals, spacing ("uniform", "log") and rule ("euler", "heun") of the integration.
        prior: "harmonic" or "gaussian"; should be the one the network was trained with.
        attempts: how often a conformer is sampled at most before its wrong stereochemistry is reported.
        max_atoms_per_batch, max_pairs_per_batch: budgets of one batch, sum n and sum n^2; a conformer that exceeds
            them runs alone.
        max_atoms: larger molecules (hydrogens included) are refused.
        prune_rms: drop a conformer within this heavy-atom RMS deviation (Angstrom, symmetry included) of an earlier
            one; None keeps all.
        minimize: "none", or "mmff" to relax every conformer with MMFF94.
        largest_fragment: keep the largest of several disconnected fragments instead of refusing the molecule.
    """

    conformers: int
    seed: int = 0
    steps: int = 50
    grid: str = "uniform"
    method: str = "euler"
    prior: str = "harmonic"
    attempts: int = 8
    max_atoms_per_batch: int = 2048
    max_pairs_per_batch: int = 2048 * MAX_PAIRS_PER_ATOM
    max_atoms: int = 250
    prune_rms: float | None = None
    minimize: str = "none"
    largest_fragment: bool = False

    def __post_init__(self) -> None:
        for name in ("conformers", "steps", "attempts", "max_atoms_per_batch", "max_pairs_per_batch", "max_atoms"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if self.prune_rms is not None and not 0 < self.prune_rms < float("inf"):
            raise ValueError(f"prune_rms must be a positive number of Angstrom, got {self.prune_rms}")
        for name, allowed in (("grid", GRIDS), ("method", METHODS), ("prior", PRIORS), ("minimize", MINIMIZERS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")

    def as_dict(self) -> dict[str, object]:
        return dataclasses.asdict(self)
