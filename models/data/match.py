"""Bring the atoms of an xyz geometry into the order of a SMILES with explicit hydrogens."""

from __future__ import annotations

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDetermineBonds

from ditkernels.models.data.records import with_positions

# An xyz order that follows the SMILES has every bond of the SMILES below this length (Å); the longest bonds of
# drug-like molecules (C-I 2.2, I-I 2.7) are shorter, distances of non-neighbours of a wrong order mostly longer.
_LONGEST_BOND = 2.8
_BOND_STRETCH = 1.3


class SmilesMismatch(ValueError):
    """The geometry does not belong to the SMILES. ``reason`` is the short phrase used in the report."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


def read_xyz(text: str) -> tuple[list[str], np.ndarray]:
    """Symbols and positions ((n, 3), Å) of the first frame of an xyz file. Raises SmilesMismatch if malformed."""
    lines = text.splitlines()
    try:
        count = int(lines[0])
        fields = [line.split() for line in lines[2 : 2 + count]]
        if len(fields) != count:
            raise ValueError(f"{count} atoms announced, {len(fields)} present")
        symbols = [f[0].capitalize() for f in fields]
        return symbols, np.array([[float(x) for x in f[1:4]] for f in fields]).reshape(count, 3)
    except (ValueError, IndexError) as error:
        raise SmilesMismatch("xyz not parsable", f"xyz not parsable: {error}") from error


def mol_with_xyz_positions(smiles: str, symbols: list[str], positions: np.ndarray) -> Chem.Mol:
    """Molecule of ``smiles`` with hydrogens, carrying the geometry, stereo marks from it.

    The order of the file is taken if elements agree position by position and every bond has a possible length;
    else bonds are perceived from the geometry and the two graphs are matched by element and connectivity.
    Raises SmilesMismatch when neither works.
    """
    mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        raise SmilesMismatch("SMILES not parsable", smiles)
    mol = Chem.AddHs(mol)
    wanted = [atom.GetSymbol() for atom in mol.GetAtoms()]
    if sorted(wanted) != sorted(symbols):
        raise SmilesMismatch("xyz composition differs from SMILES", f"{len(symbols)} atoms for {smiles}")
    if wanted == list(symbols) and _bonds_are_possible(mol, positions):
        return with_positions(mol, positions)
    order = _match_by_connectivity(mol, symbols, positions)
    if order is None:
        raise SmilesMismatch("xyz connectivity differs from SMILES", smiles)
    return with_positions(mol, positions[list(order)])


def _bonds_are_possible(mol: Chem.Mol, positions: np.ndarray) -> bool:
    table = Chem.GetPeriodicTable()
    for bond in mol.GetBonds():
        begin, end = bond.GetBeginAtom(), bond.GetEndAtom()
        length = np.linalg.norm(positions[begin.GetIdx()] - positions[end.GetIdx()])
        radii = table.GetRcovalent(begin.GetAtomicNum()) + table.GetRcovalent(end.GetAtomicNum())
        if length > min(_LONGEST_BOND, _BOND_STRETCH * radii):
            return False
    return True


def _match_by_connectivity(mol: Chem.Mol, symbols: list[str], positions: np.ndarray) -> tuple[int, ...] | None:
    """order[i] = index in the file of atom i of ``mol``, None if the perceived graph is another one."""
    block = f"{len(symbols)}\n\n" + "".join(
        f"{s} {x:.6f} {y:.6f} {z:.6f}\n" for s, (x, y, z) in zip(symbols, positions, strict=True)
    )
    perceived = Chem.MolFromXYZBlock(block)
    rdDetermineBonds.DetermineConnectivity(perceived)
    if perceived.GetNumBonds() != mol.GetNumBonds():
        return None
    query = Chem.RWMol()
    for atom in mol.GetAtoms():
        query.AddAtom(Chem.Atom(atom.GetAtomicNum()))
    for bond in mol.GetBonds():
        query.AddBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), Chem.BondType.SINGLE)
    bare = Chem.RWMol()
    for atom in perceived.GetAtoms():
        bare.AddAtom(Chem.Atom(atom.GetAtomicNum()))
    for bond in perceived.GetBonds():
        bare.AddBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), Chem.BondType.SINGLE)
    match = bare.GetSubstructMatch(query)
    return match or None
