"""Relaxation of one conformer with MMFF94."""

from __future__ import annotations

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers

ITERATIONS = 1000


def relax(mol: Chem.Mol) -> tuple[float, bool] | None:
    """Minimizes the only conformer of ``mol``, hydrogens included, in place: energy in kcal/mol and whether it
    converged; None if MMFF94 has no parameters for the molecule or fails.
    """
    if not rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
        return None
    try:
        [(not_converged, energy)] = rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(
            mol, numThreads=1, maxIters=ITERATIONS
        )
    except RuntimeError:
        return None
    if not_converged < 0 or not np.isfinite(mol.GetConformer().GetPositions()).all():
        return None
    return energy, not_converged == 0
