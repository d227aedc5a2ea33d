"""RDKit molecules as attribute arrays: the inputs of the graph conditioner.

Two attribute layouts exist, "qm9" (64 columns) and "drugs" (94 columns); they differ in the element list only.
Column groups, in this order (arXiv 2506.15378, released code; every one-hot group except element and ring size ends
in a column for "any other value"):

    chiral tag {CW, CCW, unspecified, other}                    5
    hydrogen count 0-4                                          6   (constant: hydrogens are explicit atoms)
    radical electrons 0-4                                       6
    element                                                     5 or 35
    aromatic                                                    1
    degree 0-4                                                  6
    hybridization {SP, SP2, SP3, SP3D, SP3D2}                   6
    implicit valence 0-4                                        6   (constant)
    formal charge -5 .. 5                                      12
    member of a ring of size 3, 4, 5, 6, 7, 8                   6   (several may be set)
    number of rings 0-3                                         5

Bond attributes: one-hot of single, double, triple, aromatic.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from rdkit import Chem, rdBase

from ditkernels.models.molecule.graph import DISCONNECTED_HOPS, MolecularGraph

ELEMENTS = {
    "qm9": ("H", "C", "N", "O", "F"),
    "drugs": tuple(
        "H Li B C N O F Na Mg Al Si P S Cl K Ca V Cr Mn Cu Zn Ga Ge As Se Br Ag In Sb I Gd Pt Au Hg Bi".split()
    ),
}
LAYOUTS = tuple(ELEMENTS)

CHIRAL_TAGS = (
    Chem.ChiralType.CHI_TETRAHEDRAL_CW,
    Chem.ChiralType.CHI_TETRAHEDRAL_CCW,
    Chem.ChiralType.CHI_UNSPECIFIED,
    Chem.ChiralType.CHI_OTHER,
)
HYBRIDIZATIONS = (
    Chem.HybridizationType.SP,
    Chem.HybridizationType.SP2,
    Chem.HybridizationType.SP3,
    Chem.HybridizationType.SP3D,
    Chem.HybridizationType.SP3D2,
)
BOND_TYPES = (Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC)
RING_SIZES = (3, 4, 5, 6, 7, 8)
MAX_NEIGHBOURS = 4
"""The reference data set keeps no molecule with a five-fold coordinated atom."""

_COUNTS = 5
_CHARGE_RANGE = 5
_CHIRAL_COLUMN = {tag: column for column, tag in enumerate(CHIRAL_TAGS)}
_HYBRIDIZATION_COLUMN = {hybridization: column for column, hybridization in enumerate(HYBRIDIZATIONS)}
_BOND_COLUMN = {bond_type: column for column, bond_type in enumerate(BOND_TYPES)}


class UnsupportedMolecule(ValueError):
    """A molecule that cannot be read or that the model's attribute layout cannot express; the message is one
    sentence.
    """


def column_groups(layout: str) -> dict[str, slice]:
    """Columns of every attribute group of `layout`, by name and in order."""
    widths = {
        "chiral_tag": len(CHIRAL_TAGS) + 1,
        "hydrogen_count": _COUNTS + 1,
        "radical_electrons": _COUNTS + 1,
        "element": len(ELEMENTS[_checked(layout)]),
        "aromatic": 1,
        "degree": _COUNTS + 1,
        "hybridization": len(HYBRIDIZATIONS) + 1,
        "implicit_valence": _COUNTS + 1,
        "formal_charge": 2 * _CHARGE_RANGE + 2,
        "ring_size": len(RING_SIZES),
        "ring_count": 5,
    }
    groups, start = {}, 0
    for name, width in widths.items():
        groups[name] = slice(start, start + width)
        start += width
    return groups


def num_atom_features(layout: str) -> int:
    """Width D of the atom attributes: 64 for "qm9", 94 for "drugs"."""
    return column_groups(layout)["ring_count"].stop


def _checked(layout: str) -> str:
    if layout not in ELEMENTS:
        raise ValueError(f"unknown attribute layout {layout!r}, expected one of {', '.join(LAYOUTS)}")
    return layout


def parse_smiles(smiles: str) -> Chem.Mol:
    """Molecule of a SMILES with explicit hydrogens (heavy atoms in SMILES order, then hydrogens). Raises
    UnsupportedMolecule.
    """
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles, sanitize=True)
        if mol is None:
            raise UnsupportedMolecule(f"SMILES {smiles!r} cannot be read: {_parse_problem(smiles)}")
        return with_explicit_hydrogens(mol)


def _parse_problem(smiles: str) -> str:
    """Why sanitisation failed, as far as RDKit can tell."""
    mol = Chem.MolFromSmiles(smiles, sanitize=False)
    if mol is None:
        return "not valid SMILES syntax"
    problems = Chem.DetectChemistryProblems(mol)
    return problems[0].Message().strip().rstrip(".") if problems else "RDKit cannot sanitize it"


def with_explicit_hydrogens(mol: Chem.Mol) -> Chem.Mol:
    """Copy of a sanitized molecule whose hydrogens are all atoms, appended after the existing ones.

    A 3D conformer is kept (missing hydrogens are placed) and then decides the stereochemistry; without one, the
    chiral tags and double bond labels of `mol` stay.
    """
    spatial = mol.GetNumConformers() > 0 and mol.GetConformer().Is3D()
    mol = Chem.AddHs(mol, addCoords=spatial)
    if spatial:
        Chem.AssignStereochemistryFrom3D(mol)
    return mol


def molecular_graph(mol: Chem.Mol, layout: str = "drugs") -> MolecularGraph:
    """Attribute arrays of a sanitized molecule with explicit hydrogens (see `parse_smiles`, `with_explicit_hydrogens`).

    Raises UnsupportedMolecule for: no atoms, implicit hydrogens, an element outside of the layout, more than four
    neighbors, a bond type other than the four, more than one fragment.
    """
    elements = ELEMENTS[_checked(layout)]
    num_atoms = mol.GetNumAtoms()
    if num_atoms == 0:
        raise UnsupportedMolecule("the molecule has no atoms")
    hops = Chem.GetDistanceMatrix(mol, useBO=False)
    if hops.max() > num_atoms:
        raise UnsupportedMolecule(f"the molecule has {len(Chem.GetMolFrags(mol))} disconnected fragments")
    if hops.max() >= DISCONNECTED_HOPS:
        raise UnsupportedMolecule(
            f"two atoms are {int(hops.max())} bonds apart, at most {DISCONNECTED_HOPS - 1} are supported"
        )
    bonds, bond_features = _bond_arrays(mol)
    atomic_numbers, atom_features = _atom_arrays(mol, elements, column_groups(layout))
    return MolecularGraph(atomic_numbers, atom_features, bonds, bond_features, hops.astype(np.int16))


def _name(atom: Chem.Atom) -> str:
    return f"atom {atom.GetIdx() + 1} ({atom.GetSymbol()})"


_ONE_HOT = (
    "chiral_tag",
    "hydrogen_count",
    "radical_electrons",
    "element",
    "degree",
    "hybridization",
    "implicit_valence",
    "formal_charge",
    "ring_count",
)


def _atom_arrays(mol: Chem.Mol, elements: tuple[str, ...], groups: dict[str, slice]) -> tuple[np.ndarray, np.ndarray]:
    """atomic_numbers (n,) int16 and atom_features (n, D) uint8."""
    column_of_element = {symbol: column for column, symbol in enumerate(elements)}
    num_atoms = mol.GetNumAtoms()
    rings = mol.GetRingInfo()
    atoms = [mol.GetAtomWithIdx(index) for index in range(num_atoms)]
    features = np.zeros((num_atoms, groups["ring_count"].stop), dtype=np.uint8)
    columns = []
    for index, atom in enumerate(atoms):
        _check_atom(atom, column_of_element)
        ring_count = rings.NumAtomRings(index)
        if ring_count:
            sizes = rings.AtomRingSizes(index)
            features[index, groups["ring_size"]] = [size in sizes for size in RING_SIZES]
        # In the order of _ONE_HOT. No hydrogen is implicit (checked), so hydrogen count and implicit valence are 0.
        columns.append(
            (
                _CHIRAL_COLUMN.get(atom.GetChiralTag(), len(CHIRAL_TAGS)),
                0,
                min(atom.GetNumRadicalElectrons(), _COUNTS),
                column_of_element[atom.GetSymbol()],
                atom.GetDegree(),
                _HYBRIDIZATION_COLUMN.get(atom.GetHybridization(), len(HYBRIDIZATIONS)),
                0,
                _charge_column(atom.GetFormalCharge()),
                min(ring_count, 4),
            )
        )
    starts = np.array([groups[name].start for name in _ONE_HOT])
    features[np.arange(num_atoms)[:, None], np.array(columns) + starts] = 1
    features[:, groups["aromatic"].start] = [atom.GetIsAromatic() for atom in atoms]
    return np.array([atom.GetAtomicNum() for atom in atoms], dtype=np.int16), features


def _check_atom(atom: Chem.Atom, supported: Collection[str]) -> None:
    if atom.GetSymbol() not in supported:
        raise UnsupportedMolecule(f"{_name(atom)} has an element outside of the supported {', '.join(supported)}")
    if atom.GetDegree() > MAX_NEIGHBOURS:
        raise UnsupportedMolecule(
            f"{_name(atom)} has {atom.GetDegree()} neighbors, at most {MAX_NEIGHBOURS} are supported"
        )
    if atom.GetTotalNumHs():
        raise UnsupportedMolecule(f"{_name(atom)} has implicit hydrogens, which must be added as atoms first")


def _charge_column(charge: int) -> int:
    return charge + _CHARGE_RANGE if -_CHARGE_RANGE <= charge <= _CHARGE_RANGE else 2 * _CHARGE_RANGE + 1


def _bond_arrays(mol: Chem.Mol) -> tuple[np.ndarray, np.ndarray]:
    """bonds (m, 2) int32, smaller index first, and bond_features (m, 4) uint8."""
    bonds = np.empty((mol.GetNumBonds(), 2), dtype=np.int32)
    features = np.zeros((mol.GetNumBonds(), len(BOND_TYPES)), dtype=np.uint8)
    for index in range(mol.GetNumBonds()):
        bond = mol.GetBondWithIdx(index)
        begin, end = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        column = _BOND_COLUMN.get(bond.GetBondType())
        if column is None:
            raise UnsupportedMolecule(
                f"the bond between {_name(bond.GetBeginAtom())} and {_name(bond.GetEndAtom())} has type "
                f"{bond.GetBondType().name.lower()}, expected single, double, triple or aromatic"
            )
        bonds[index] = (begin, end) if begin < end else (end, begin)
        features[index, column] = 1
    return bonds, features
