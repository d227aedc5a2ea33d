"""What cannot be expressed is refused with one sentence that names the atom and the reason."""

from __future__ import annotations

import pytest
from rdkit import Chem

from ditkernels.models.molecule.featurize import UnsupportedMolecule, molecular_graph, parse_smiles


@pytest.mark.parametrize(
    ("smiles", "layout", "sentence"),
    [
        ("", "drugs", "the molecule has no atoms"),
        ("C[Te]C", "drugs", r"atom 2 \(Te\) has an element outside"),
        ("*CC", "drugs", r"atom 1 \(\*\) has an element outside"),
        ("CCl", "qm9", r"atom 2 \(Cl\) has an element outside of the supported H, C, N, O, F"),
        ("[Na+]", "qm9", r"atom 1 \(Na\)"),
        ("F[P-](F)(F)(F)(F)F", "drugs", r"atom 2 \(P\) has 6 neighbors, at most 4"),
        ("[NH3]->[Cu]", "drugs", r"between atom 1 \(N\) and atom 2 \(Cu\) has type dative"),
        ("[Na+].[Cl-]", "drugs", "2 disconnected fragments"),
        ("C#C" * 256, "drugs", "513 bonds apart, at most 509"),
    ],
)
def test_refused(smiles, layout, sentence):
    with pytest.raises(UnsupportedMolecule, match=sentence):
        molecular_graph(parse_smiles(smiles), layout)


@pytest.mark.parametrize(
    ("smiles", "sentence"),
    [
        ("C1CC", "cannot be read: not valid SMILES syntax"),
        ("not a molecule", "not valid SMILES syntax"),
        ("C(C)(C)(C)(C)C", "valence for atom # 0 C, 5"),
        ("c1cccc1", "kekulize"),
    ],
)
def test_unreadable_smiles(smiles, sentence):
    with pytest.raises(UnsupportedMolecule, match=sentence):
        parse_smiles(smiles)


def test_implicit_hydrogens_are_refused():
    with pytest.raises(UnsupportedMolecule, match=r"atom 1 \(C\) has implicit hydrogens"):
        molecular_graph(Chem.MolFromSmiles("CC"))


def test_unknown_layout():
    with pytest.raises(ValueError, match="unknown attribute layout 'zinc'"):
        molecular_graph(parse_smiles("C"), "zinc")


@pytest.mark.parametrize(
    ("smiles", "atoms"), [("[Na+]", 1), ("O", 3), ("[H][H]", 2), ("[CH3]", 4), ("C[N+](C)(C)CC([O-])=O", 19)]
)
def test_small_and_charged_molecules_are_supported(smiles, atoms):
    assert molecular_graph(parse_smiles(smiles)).num_atoms == atoms
