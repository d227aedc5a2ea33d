"""Scores of one molecule, and their means and medians over molecules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import Chem

from ditkernels.models.evaluation.coverage import Coverage, coverage
from ditkernels.models.evaluation.geometry import conformer_positions, geometry_errors
from ditkernels.models.evaluation.methods import Made
from ditkernels.models.evaluation.parallel import Failure
from ditkernels.models.evaluation.references import ReferenceSet
from ditkernels.models.evaluation.rmsd import rmsd_matrix
from ditkernels.models.molecule.stereo import OK, check_stereo, stereo_elements


@dataclass(frozen=True)
class MoleculeScore:
    """What one method reached on one molecule.

    coverage: COV and AMR (see `coverage`).
    bond_error: mean absolute deviation of bond lengths, Å. angle_error: of bond angles, degrees. NaN without samples.
    right_stereo: share of samples in [0, 1] with the R/S and E/Z marks of the references; NaN without samples, and for
        a molecule that has no such mark. right_stereo_unmirrored: the same before inverted samples were reflected.
    references, requested, generated: numbers of conformers.
    symmetry_capped: the automorphisms tried for the RMSD were cut, so it is an upper bound.
    reason: why conformers are missing, empty if none is.
    """

    coverage: Coverage
    bond_error: float
    angle_error: float
    right_stereo: float
    right_stereo_unmirrored: float
    references: int
    requested: int
    generated: int
    symmetry_capped: bool
    reason: str


def score_molecule(
    reference: ReferenceSet,
    made: Made | Failure,
    requested: int,
    thresholds: tuple[float, ...],
    heavy_geometry: bool = False,
) -> MoleculeScore:
    """Score the conformers of one molecule; a `Failure` scores like a molecule without conformers.

    Args:
        reference: the molecule and its references.
        made: conformers of the same atoms in the same order, or why there are none.
        requested: number of conformers asked for.
        thresholds: RMSD below which a conformer counts as found, Å.
        heavy_geometry: leave hydrogens out of the bond and angle errors (for references with modelled hydrogens).
    """
    if isinstance(made, Failure):
        return failed_molecule(reference, made.reason, requested, thresholds)
    count = made.mol.GetNumConformers()
    if count == 0:
        return failed_molecule(reference, "no conformer came out", requested, thresholds)
    rmsd, capped = rmsd_matrix(reference.mol, made.mol)
    bond_error, angle_error = geometry_errors(reference.mol, made.mol, heavy_geometry)
    right = share_of_right_stereo(reference.mol, made.mol)
    return MoleculeScore(
        coverage(rmsd, thresholds),
        bond_error,
        angle_error,
        right,
        right - made.mirrored / count,
        reference.count,
        requested,
        count,
        capped,
        "" if count == requested else f"{requested - count} of {requested} conformers did not come out",
    )


def failed_molecule(
    reference: ReferenceSet, reason: str, requested: int, thresholds: tuple[float, ...]
) -> MoleculeScore:
    """The score of a molecule without any conformer."""
    nothing = coverage(np.empty((reference.count, 0)), thresholds)
    nan = float("nan")
    return MoleculeScore(nothing, nan, nan, nan, nan, reference.count, requested, 0, False, reason)


def share_of_right_stereo(reference: Chem.Mol, generated: Chem.Mol) -> float:
    """Share of conformers whose marked centers and double bonds all are as in `reference`; NaN if none is marked."""
    elements = stereo_elements(reference)
    if not elements.any_specified:
        return float("nan")
    checks = check_stereo(elements, conformer_positions(generated))
    return sum(check.status == OK for check in checks) / len(checks)


def summarize(scores: Sequence[MoleculeScore]) -> dict:
    """Mean and median over molecules of every score, and the counts behind them.

    A molecule without any generated conformer has coverage 0, and is left out of the AMR and the geometry errors, which
    it does not have; `molecules_failed` says how many these are.
    """
    thresholds = list(scores[0].coverage.cov_r) if scores else []
    columns = {f"cov_r@{d:g}": [s.coverage.cov_r[d] for s in scores] for d in thresholds}
    columns |= {f"cov_p@{d:g}": [s.coverage.cov_p[d] for s in scores] for d in thresholds}
    columns["amr_r"] = [s.coverage.amr_r for s in scores]
    columns["amr_p"] = [s.coverage.amr_p for s in scores]
    columns["bond_length_error"] = [s.bond_error for s in scores]
    columns["bond_angle_error"] = [s.angle_error for s in scores]
    columns["right_stereo"] = [s.right_stereo for s in scores]
    columns["right_stereo_unmirrored"] = [s.right_stereo_unmirrored for s in scores]
    return {
        "molecules": len(scores),
        "molecules_failed": sum(s.generated == 0 for s in scores),
        "molecules_incomplete": sum(0 < s.generated < s.requested for s in scores),
        "molecules_symmetry_capped": sum(s.symmetry_capped for s in scores),
        "molecules_with_stereo": sum(math.isfinite(s.right_stereo) for s in scores),
        "references": sum(s.references for s in scores),
        "conformers_requested": sum(s.requested for s in scores),
        "conformers_generated": sum(s.generated for s in scores),
        "mean": {name: _finite(np.mean, values) for name, values in columns.items()},
        "median": {name: _finite(np.median, values) for name, values in columns.items()},
    }


def _finite(statistic, values: list[float]) -> float | None:
    finite = [value for value in values if math.isfinite(value)]
    return float(statistic(finite)) if finite else None
