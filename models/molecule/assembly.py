"""From atoms and claimed bonds to a molecule with hydrogens, or to the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from rdkit import Chem, rdBase

from ditkernels.models.molecule.bond_lengths import bond_orders, distances, shortest_lengths
from ditkernels.models.molecule.raw import RawMolecule
from ditkernels.models.molecule.relax import relax
from ditkernels.models.molecule.valence import missing_hydrogens

FAILURES = ("no atoms", "unknown element", "over-valence", "disconnected", "clash", "sanitization")
"""Why a sample is no molecule, in the order of the checks; the first that applies is named."""

BONDS = ("rows", "geometry")
CLASH = 0.7
"""Two atoms closer than this share of the shortest bond between their elements stand on each other."""

_TYPES = {1: Chem.BondType.SINGLE, 2: Chem.BondType.DOUBLE, 3: Chem.BondType.TRIPLE}


@dataclass(frozen=True)
class AssembledMolecule:
    """A sample after its chemistry.

    raw:     what it was made of.
    mol:     sanitised, with hydrogens that have coordinates; None if it failed.
    failure: one of FAILURES, or None. detail: a sentence that names the atoms.
    relaxed: whether MMFF94 has moved the atoms.
    """

    raw: RawMolecule
    mol: Chem.Mol | None
    failure: str | None = None
    detail: str = ""
    relaxed: bool = False

    @property
    def smiles(self) -> str:
        """Canonical SMILES without hydrogens and stereo marks; "" if it failed."""
        return "" if self.mol is None else Chem.MolToSmiles(Chem.RemoveAllHs(self.mol), isomericSmiles=False)


def assemble(raw: RawMolecule, *, hydrogens: str = "smallest", bonds: str = "rows") -> AssembledMolecule:
    """Bonds, hydrogens by valence (:mod:`ditkernels.models.molecule.valence`), RDKit's sanitisation.

    hydrogens: "smallest" or "maximum". bonds: those of the sample ("rows"), or by distance ("geometry").

    No formal charges are made: a sample that needs them is over-valent. Raises ValueError for an unknown option.
    """
    claimed = bonds_of(raw, bonds)
    failure, detail = _reject(raw, claimed, hydrogens)
    if failure is not None:
        return AssembledMolecule(raw, None, failure, detail)
    mol = _heavy(raw, claimed)
    for atom, count in zip(mol.GetAtoms(), missing_hydrogens(raw.elements, _order_sums(raw, claimed), hydrogens)):
        atom.SetNoImplicit(True)
        atom.SetNumExplicitHs(int(count))
    try:
        with rdBase.BlockLogs():
            Chem.SanitizeMol(mol)
    except Chem.MolSanitizeException as error:
        return AssembledMolecule(raw, None, "sanitization", " ".join(str(error).split()))
    mol = Chem.AddHs(mol.GetMol(), addCoords=True)
    Chem.AssignStereochemistryFrom3D(mol)
    return AssembledMolecule(raw, mol)


def minimized(molecule: AssembledMolecule) -> AssembledMolecule:
    """The molecule relaxed with MMFF94, hydrogens included; a failed one, or one that MMFF94 cannot relax, as it is."""
    if molecule.mol is None:
        return molecule
    mol = Chem.Mol(molecule.mol)
    return replace(molecule, mol=mol, relaxed=True) if relax(mol) is not None else molecule


def bonds_of(raw: RawMolecule, kind: str = "rows") -> np.ndarray:
    """(m, 3) atoms a < b and order: the rows of the sample, or all pairs that are bonded by their distance."""
    if kind not in BONDS:
        raise ValueError(f"bonds must be one of {', '.join(BONDS)}, got {kind!r}")
    if kind == "rows":
        return raw.bonds
    orders = np.triu(bond_orders(raw.elements, raw.positions))
    first, second = np.nonzero(orders)
    return np.column_stack((first, second, orders[first, second]))


def agreement(raw: RawMolecule) -> tuple[float, float]:
    """How well the bonds of the sample agree with its distances: shared pairs over all pairs (1 where neither has one),
    and the share of equal orders among the shared ones (NaN where there is none).
    """
    rows, near = ({(a, b): order for a, b, order in bonds_of(raw, kind).tolist()} for kind in BONDS)
    shared, either = rows.keys() & near.keys(), rows.keys() | near.keys()
    jaccard = len(shared) / len(either) if either else 1.0
    return jaccard, float(np.mean([rows[pair] == near[pair] for pair in shared])) if shared else float("nan")


def components(count: int, bonds: np.ndarray) -> np.ndarray:
    """(n,) int64: number of the connected part that each atom lies in."""
    label = np.arange(count)
    for a, b, *_ in np.asarray(bonds).tolist():
        label[label == label[b]] = label[a]
    return np.unique(label, return_inverse=True)[1] if count else label


def _order_sums(raw: RawMolecule, bonds: np.ndarray) -> np.ndarray:
    sums = np.zeros(len(raw.elements), dtype=np.int64)
    for column in (0, 1):
        np.add.at(sums, bonds[:, column], bonds[:, 2])
    return sums


def _reject(raw: RawMolecule, bonds: np.ndarray, hydrogens: str) -> tuple[str | None, str]:
    """The failure that can be seen without RDKit, and its detail."""
    symbol = Chem.GetPeriodicTable().GetElementSymbol
    if not len(raw.elements):
        return "no atoms", "the sample has no atom"
    if (raw.elements == 0).any() or not np.isfinite(raw.positions).all():
        atom = int(np.flatnonzero((raw.elements == 0) | ~np.isfinite(raw.positions).all(axis=1))[0])
        return "unknown element", f"atom {atom + 1} has no element, or no place"
    sums = _order_sums(raw, bonds)
    lacking = missing_hydrogens(raw.elements, sums, hydrogens)
    if (lacking < 0).any():
        atom = int(np.flatnonzero(lacking < 0)[0])
        return (
            "over-valence",
            f"atom {atom + 1} ({symbol(int(raw.elements[atom]))}) has bonds of total order {sums[atom]}",
        )
    parts = int(components(len(raw.elements), bonds).max()) + 1
    if parts > 1:
        return "disconnected", f"{parts} parts"
    distance = distances(raw.positions) + np.diag(np.full(len(raw.elements), np.inf))
    close = distance < CLASH * shortest_lengths(raw.elements)
    if close.any():
        first, second = (int(x) for x in np.argwhere(close)[0])
        return "clash", f"atoms {first + 1} and {second + 1} are {distance[first, second]:.2f} Å apart"
    return None, ""


def _heavy(raw: RawMolecule, bonds: np.ndarray) -> Chem.RWMol:
    mol = Chem.RWMol()
    for number in raw.elements.tolist():
        mol.AddAtom(Chem.Atom(number))
    for a, b, order in bonds.tolist():
        mol.AddBond(a, b, _TYPES[order])
    conformer = Chem.Conformer(len(raw.elements))
    conformer.Set3D(True)
    conformer.SetPositions(np.asarray(raw.positions, dtype=np.float64))
    mol.AddConformer(conformer, assignId=True)
    return mol
