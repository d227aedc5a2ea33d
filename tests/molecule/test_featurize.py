"""Attribute arrays: hand-derived vectors, one value per group, the two layouts."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from ditkernels.models.molecule.featurize import (
    ELEMENTS,
    LAYOUTS,
    column_groups,
    molecular_graph,
    num_atom_features,
    parse_smiles,
    with_explicit_hydrogens,
)

DRUG = "C[C@H](N)C(=O)Nc1ccc2c(c1)C=C[S@@]2=O"
ONE_HOT_GROUPS = (
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


def set_columns(smiles, atom, layout="drugs"):
    """Name of every group -> the columns that are set, counted within the group."""
    features = molecular_graph(parse_smiles(smiles), layout).atom_features[atom]
    return {name: np.flatnonzero(features[columns]).tolist() for name, columns in column_groups(layout).items()}


@pytest.mark.parametrize(("layout", "width"), [("qm9", 64), ("drugs", 94)])
def test_layout_widths_and_order(layout, width):
    groups = column_groups(layout)
    assert num_atom_features(layout) == width
    assert list(groups) == [
        "chiral_tag",
        "hydrogen_count",
        "radical_electrons",
        "element",
        "aromatic",
        "degree",
        "hybridization",
        "implicit_valence",
        "formal_charge",
        "ring_size",
        "ring_count",
    ]
    assert [columns.stop - columns.start for columns in groups.values()] == [
        5,
        6,
        6,
        len(ELEMENTS[layout]),
        1,
        6,
        6,
        6,
        12,
        6,
        5,
    ]


def test_methane_carbon_in_the_small_layout():
    # 5 tag (unspecified), 6 hydrogens, 6 radicals, 5 elements (C), 1 aromatic, 6 degree (4), 6 hybridization (SP3),
    # 6 implicit valence (0), 12 charge (0), 6 ring sizes, 5 ring count (0).
    expected = (
        [0, 0, 1, 0, 0] + [1, 0, 0, 0, 0, 0] * 2 + [0, 1, 0, 0, 0] + [0] + [0, 0, 0, 0, 1, 0] + [0, 0, 1, 0, 0, 0]
    )
    expected += [1, 0, 0, 0, 0, 0] + [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0] + [0] * 6 + [1, 0, 0, 0, 0]
    graph = molecular_graph(parse_smiles("C"), "qm9")
    assert graph.num_atoms == 5
    assert graph.atom_features[0].tolist() == expected


def test_pyridinium_nitrogen_in_the_large_layout():
    found = set_columns("C[n+]1ccccc1", 1)
    assert found == {
        "chiral_tag": [2],
        "hydrogen_count": [0],
        "radical_electrons": [0],
        "element": [ELEMENTS["drugs"].index("N")],
        "aromatic": [0],
        "degree": [3],
        "hybridization": [1],
        "implicit_valence": [0],
        "formal_charge": [6],
        "ring_size": [3],
        "ring_count": [1],
    }


@pytest.mark.parametrize(
    ("smiles", "atom", "group", "columns"),
    [
        ("F[C@H](Cl)Br", 1, "chiral_tag", [1]),
        ("F[C@@H](Cl)Br", 1, "chiral_tag", [0]),
        ("FC(Cl)Br", 1, "chiral_tag", [2]),
        ("[CH3]", 0, "radical_electrons", [1]),
        ("[CH2]", 0, "radical_electrons", [2]),
        ("C[N+](=O)[O-]", 3, "formal_charge", [4]),
        ("[Al+3]", 0, "formal_charge", [8]),
        ("C#N", 0, "hybridization", [0]),
        ("C=O", 0, "hybridization", [1]),
        ("CS(=O)(=O)C", 1, "hybridization", [2]),
        ("[H][H]", 0, "hybridization", [5]),
        ("c1ccccc1", 0, "aromatic", [0]),
        ("C1CCCCC1", 0, "aromatic", []),
        ("C1CC1", 0, "ring_size", [0]),
        ("C1CCCCCCC1", 0, "ring_size", [5]),
        ("C1CCCCCCCC1", 0, "ring_size", []),
        ("c1ccc2[nH]ccc2c1", 3, "ring_size", [2, 3]),
        ("c1ccc2[nH]ccc2c1", 3, "ring_count", [2]),
        ("C1CCCCCCCC1", 0, "ring_count", [1]),
        ("C12C3C4C1C5C2C3C45", 0, "ring_count", [3]),
        ("C", 1, "degree", [1]),
    ],
)
def test_single_attributes(smiles, atom, group, columns):
    assert set_columns(smiles, atom)[group] == columns


@pytest.mark.parametrize(("smiles", "column"), [("CC", 0), ("C=C", 1), ("C#C", 2), ("c1ccccc1", 3)])
def test_bond_attributes(smiles, column):
    graph = molecular_graph(parse_smiles(smiles))
    assert graph.bonds[0].tolist() == [0, 1]
    assert graph.bond_features[0].tolist() == [int(k == column) for k in range(4)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_one_hot_group_has_one_value(layout):
    smiles = DRUG if layout == "drugs" else "C[C@H](N)C(=O)NC1CC1"
    graph = molecular_graph(parse_smiles(smiles), layout)
    groups = column_groups(layout)
    for name in ONE_HOT_GROUPS:
        assert (graph.atom_features[:, groups[name]].sum(axis=1) == 1).all(), name
    assert (graph.bond_features.sum(axis=1) == 1).all()


def test_explicit_hydrogens_make_two_groups_constant():
    graph = molecular_graph(parse_smiles(DRUG))
    groups = column_groups("drugs")
    for name in ("hydrogen_count", "implicit_valence"):
        assert (graph.atom_features[:, groups[name]][:, 0] == 1).all()


def test_dtypes_and_bond_order():
    graph = molecular_graph(parse_smiles(DRUG))
    dtypes = [
        array.dtype
        for array in (graph.atomic_numbers, graph.atom_features, graph.bonds, graph.bond_features, graph.hops)
    ]
    assert dtypes == [np.int16, np.uint8, np.int32, np.uint8, np.int16]
    assert (graph.bonds[:, 0] < graph.bonds[:, 1]).all()


def test_hops_of_a_branched_ring():
    # The bonds and hops of the seven-atom graph of the original's golden files (their attributes are random numbers).
    mol = Chem.RWMol()
    for symbol in "CCNCOCC":
        atom = Chem.Atom(symbol)
        atom.SetNoImplicit(True)
        mol.AddAtom(atom)
    for begin, end in [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 2), (3, 6)]:
        mol.AddBond(begin, end, Chem.BondType.SINGLE)
    Chem.SanitizeMol(mol)
    assert molecular_graph(mol).hops.tolist() == [
        [0, 1, 2, 3, 4, 3, 4],
        [1, 0, 1, 2, 3, 2, 3],
        [2, 1, 0, 1, 2, 1, 2],
        [3, 2, 1, 0, 1, 2, 1],
        [4, 3, 2, 1, 0, 1, 2],
        [3, 2, 1, 2, 1, 0, 3],
        [4, 3, 2, 1, 2, 3, 0],
    ]


def test_smiles_mol_and_sd_input_agree():
    mol = parse_smiles(DRUG)
    assert AllChem.EmbedMolecule(mol, randomSeed=7) == 0
    block = Chem.MolToMolBlock(mol)
    from_block = with_explicit_hydrogens(Chem.MolFromMolBlock(block, removeHs=False))
    from_mol = with_explicit_hydrogens(Chem.MolFromSmiles(DRUG))
    graphs = [molecular_graph(m) for m in (mol, from_mol, from_block)]
    for graph in graphs[1:]:
        assert (graph.atom_features == graphs[0].atom_features).all()
        assert (graph.hops == graphs[0].hops).all()


def test_positions_decide_stereochemistry_and_are_kept():
    mol = parse_smiles("C[C@H](N)C(=O)O")
    assert AllChem.EmbedMolecule(mol, randomSeed=7) == 0
    heavy = Chem.RemoveHs(mol)
    mirrored = Chem.Mol(heavy)
    mirrored.GetConformer().SetPositions(heavy.GetConformer().GetPositions() * [1.0, 1.0, -1.0])
    read = with_explicit_hydrogens(mirrored)
    assert np.allclose(
        read.GetConformer().GetPositions()[: heavy.GetNumAtoms()], mirrored.GetConformer().GetPositions()
    )
    assert read.GetNumAtoms() == mol.GetNumAtoms()
    assert Chem.MolToSmiles(Chem.RemoveHs(read)) == Chem.CanonSmiles("C[C@@H](N)C(=O)O")


def test_large_molecule():
    graph = molecular_graph(parse_smiles("C" * 59 + "N"))
    assert graph.num_atoms == 181
    assert graph.hops.max() == 61
    assert (graph.hops == graph.hops.T).all()
