"""Plausibility of a geometry, after PoseBusters (Buttenschoen et al., 10.1039/D3SC04185A), with its thresholds.

The energy ratio of PoseBusters is left out: it needs fifty conformers of every molecule.
"""

from __future__ import annotations

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom

CHECKS = ("bond lengths", "bond angles", "no clash", "flat aromatic rings", "flat double bonds")
LENGTH, ANGLE, CLASH = 0.25, 0.25, 0.3
"""Shares by which distances may leave RDKit's bounds: of 1-2, of 1-3 pairs, and of all others, downwards only."""
FLAT = 0.25
"""Å from the best plane."""

_FLAT_DOUBLE = Chem.MolFromSmarts("[#6X3;^2](*)(*)=[#6X3;^2](*)(*)")


def geometry_checks(mol: Chem.Mol) -> dict[str, bool] | None:
    """Which of :data:`CHECKS` a molecule with hydrogens and one conformer passes; None where RDKit has no bounds."""
    with rdBase.BlockLogs():
        try:
            bounds = rdDistGeom.GetMoleculeBoundsMatrix(mol)
        except (RuntimeError, ValueError):
            return None
    positions = mol.GetConformer().GetPositions()
    hops = Chem.GetDistanceMatrix(mol)
    first, second = np.triu_indices(mol.GetNumAtoms(), 1)
    upper, lower = bounds[first, second], bounds[second, first]
    distance, hop = np.linalg.norm(positions[first] - positions[second], axis=1), hops[first, second]

    def within(pairs: np.ndarray, share: float) -> bool:
        d, low, high = distance[pairs], lower[pairs], upper[pairs]
        return bool(((d >= low * (1 - share)) & (d <= high * (1 + share))).all())

    far = hop > 2
    rings = [
        ring
        for ring in mol.GetRingInfo().AtomRings()
        if len(ring) in (5, 6) and all(mol.GetAtomWithIdx(atom).GetIsAromatic() for atom in ring)
    ]
    double = mol.GetSubstructMatches(_FLAT_DOUBLE)
    return {
        "bond lengths": within(hop == 1, LENGTH),
        "bond angles": within(hop == 2, ANGLE),
        "no clash": bool((distance[far] >= lower[far] * (1 - CLASH)).all()),
        "flat aromatic rings": all(_flat(positions[list(ring)]) for ring in rings),
        "flat double bonds": all(_flat(positions[list(match)]) for match in double),
    }


def _flat(points: np.ndarray) -> bool:
    centred = points - points.mean(axis=0)
    normal = np.linalg.svd(centred)[2][-1]
    return bool(np.abs(centred @ normal).max() <= FLAT)
