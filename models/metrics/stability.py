"""Stable atoms and molecules by two rulers, both from atoms and distances alone.

``edm`` (Hoogeboom et al., arXiv 2203.17003, hydrogens included): bonds by distance with margins; an atom is stable if
its bond orders add up to an allowed valence. Published tables use it.

``counts`` is the ruler of the released D3MES program (arXiv 2501.07077), applied to the atoms that its model makes:
bonds by distance without margins, and an atom is stable if it does not have more bonds than its largest valence,
whatever their order. It cannot tell molecules from noise (see :mod:`ditkernels.models.metrics.null`) and is here to
show that.
"""

from __future__ import annotations

import numpy as np
from rdkit import Chem, rdBase

from ditkernels.models.molecule.bond_lengths import bond_orders
from ditkernels.models.molecule.valence import MAXIMUM, VALENCES

NO_MARGINS = (0, 0, 0)
_SULFUR = 16
_EDM = {**VALENCES, _SULFUR: (4,)}
_TYPES = (None, Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)


def edm_stable(elements: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """(n,) bool: which atoms are stable by EDM's ruler. elements: (n,) atomic numbers; positions: (n, 3) in Å."""
    sums = bond_orders(elements, positions).sum(axis=1)
    return np.array(
        [used in _EDM.get(int(number), ()) for number, used in zip(elements, sums.tolist(), strict=True)], dtype=bool
    )


def counts_stable(elements: np.ndarray, positions: np.ndarray) -> np.ndarray | None:
    """(n,) bool: which atoms are stable by the ruler of bond counts; None for a sample with an unknown element, which
    that ruler leaves out of the share of atoms and counts as an unstable molecule.
    """
    if any(int(number) not in MAXIMUM for number in elements):
        return None
    counts = (bond_orders(elements, positions, NO_MARGINS) > 0).sum(axis=1)
    return np.array(
        [used <= MAXIMUM[int(number)] for number, used in zip(elements, counts.tolist(), strict=True)], dtype=bool
    )


def edm_smiles(elements: np.ndarray, positions: np.ndarray) -> str | None:
    """SMILES of the largest part of the molecule that distances make, None if RDKit refuses it (EDM's validity)."""
    mol = molecule_by_distance(elements, positions)
    with rdBase.BlockLogs():
        try:
            Chem.SanitizeMol(mol)
            largest = max(Chem.GetMolFrags(mol, asMols=True), key=lambda part: part.GetNumAtoms())
            Chem.SanitizeMol(largest)
        except (Chem.MolSanitizeException, ValueError):
            return None
    return Chem.MolToSmiles(largest)


def counts_smiles(elements: np.ndarray, positions: np.ndarray) -> str:
    """SMILES as the released evaluator writes it: no sanitisation, all parts, bonds without margins."""
    known = np.asarray(elements) > 0
    mol = molecule_by_distance(np.asarray(elements)[known], np.asarray(positions)[known], NO_MARGINS)
    return Chem.MolToSmiles(mol, canonical=True)


def molecule_by_distance(elements: np.ndarray, positions: np.ndarray, margins=None) -> Chem.Mol:
    """Unsanitised molecule with the bonds of :func:`bond_orders`."""
    orders = bond_orders(elements, positions) if margins is None else bond_orders(elements, positions, margins)
    mol = Chem.RWMol()
    for number in np.asarray(elements).tolist():
        mol.AddAtom(Chem.Atom(int(number)))
    for a, b in np.argwhere(np.triu(orders)).tolist():
        mol.AddBond(a, b, _TYPES[orders[a, b]])
    return mol.GetMol()
