"""Coverage and average minimum RMSD of a set of generated conformers against a set of references.

With R[k, l] = RMSD(reference k, generated l) and a threshold d:

    COV-R = mean_k [ min_l R < d ]      AMR-R = mean_k min_l R      (recall: is every reference found)
    COV-P = mean_l [ min_k R < d ]      AMR-P = mean_l min_k R      (precision: is every sample near a reference)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Coverage:
    """Scores of one molecule. `cov_r`, `cov_p` map threshold (Å) to a share in [0, 1]; `amr_r`, `amr_p` are in Å."""

    cov_r: dict[float, float]
    cov_p: dict[float, float]
    amr_r: float
    amr_p: float


def coverage(rmsd: np.ndarray, thresholds: tuple[float, ...]) -> Coverage:
    """Scores from the matrix of RMSD, shape (references, generated), Å.

    A pair that could not be aligned is NaN and left out of the minimum. Without any generated conformer nothing is
    covered: both coverages are 0 and the average minimum RMSD, which does not exist, is NaN.

    Raises:
        ValueError: if the matrix is not two-dimensional or has no reference row.
    """
    if rmsd.ndim != 2 or rmsd.shape[0] == 0:
        raise ValueError(f"rmsd must have shape (references >= 1, generated), got {tuple(rmsd.shape)}")
    if rmsd.shape[1] == 0:
        zero = dict.fromkeys(thresholds, 0.0)
        return Coverage(dict(zero), dict(zero), float("nan"), float("nan"))
    filled = np.where(np.isnan(rmsd), np.inf, rmsd)
    recall, precision = filled.min(axis=1), filled.min(axis=0)
    return Coverage(
        {d: float((recall < d).mean()) for d in thresholds},
        {d: float((precision < d).mean()) for d in thresholds},
        _mean_of_finite(recall),
        _mean_of_finite(precision),
    )


def _mean_of_finite(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")
