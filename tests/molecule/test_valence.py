"""Hydrogens that an atom lacks, by both rules."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from ditkernels.models.molecule.valence import MAXIMUM, RULES, VALENCES, missing_hydrogens

NEUTRAL = (
    *("C", "CC", "C=C", "C#N", "c1ccccc1", "c1cc[nH]c1", "CC(=O)NC", "OC=O", "FC(F)F", "CP", "CSC", "c1ccsc1", "CS"),
    *("CS(C)=O", "CS(C)(=O)=O", "COP(=O)(OC)OC", "CP(C)C", "ClCBr", "C[SiH](C)C", "CB(O)O", "CI", "O=C=O", "N#CC#N"),
)


def bonds_and_hydrogens(smiles: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Elements, sums of the Kekulé orders of bonds between heavy atoms, and true numbers of hydrogens."""
    mol = Chem.MolFromSmiles(smiles)
    Chem.Kekulize(mol, clearAromaticFlags=True)
    rows = [
        (a.GetAtomicNum(), sum(int(b.GetBondTypeAsDouble()) for b in a.GetBonds()), a.GetTotalNumHs())
        for a in mol.GetAtoms()
    ]
    return tuple(np.array(column) for column in zip(*rows))


@pytest.mark.parametrize("smiles", NEUTRAL)
def test_the_smallest_valence_gives_the_hydrogens_of_neutral_molecules(smiles):
    elements, sums, hydrogens = bonds_and_hydrogens(smiles)
    assert missing_hydrogens(elements, sums).tolist() == hydrogens.tolist()


@pytest.mark.parametrize(
    ("smiles", "element", "smallest", "maximum"),
    [("CSC", 16, 0, 2), ("c1ccsc1", 16, 0, 2), ("CS", 16, 1, 3), ("CP(C)C", 15, 0, 2), ("CS(C)=O", 16, 0, 0)],
)
def test_the_maximum_valence_adds_hydrogens_to_sulfur_and_phosphorus(smiles, element, smallest, maximum):
    elements, sums, _ = bonds_and_hydrogens(smiles)
    atom = elements == element
    assert missing_hydrogens(elements, sums, "smallest")[atom].tolist() == [smallest]
    assert missing_hydrogens(elements, sums, "maximum")[atom].tolist() == [maximum]


def test_both_rules_agree_on_elements_with_one_valence():
    for number in (1, 5, 6, 7, 8, 9, 17, 35):
        sums = np.arange(MAXIMUM[number] + 1)
        found = [missing_hydrogens(np.full(len(sums), number), sums, rule).tolist() for rule in RULES]
        assert found[0] == found[1] == (MAXIMUM[number] - sums).tolist()


@pytest.mark.parametrize("rule", RULES)
def test_too_many_bonds_and_unknown_elements_are_marked(rule):
    # five bonds of carbon, four of nitrogen, an unknown element, one that the table does not have
    assert missing_hydrogens(np.array([6, 7, 0, 2]), np.array([5, 4, 0, 0]), rule).tolist() == [-1] * 4


def test_a_sulfone_is_too_much_for_the_maximum_rule_only():
    elements, sums, _ = bonds_and_hydrogens("CS(C)(=O)=O")
    assert (missing_hydrogens(elements, sums, "smallest") >= 0).all()
    assert missing_hydrogens(elements, sums, "maximum").min() == -1


def test_charged_atoms_are_beyond_both_rules():
    elements, sums, hydrogens = bonds_and_hydrogens("C[N+](=O)[O-]")
    for rule in RULES:
        found = missing_hydrogens(elements, sums, rule)
        assert found[elements == 7].tolist() == [-1]  # four bonds
        assert found[sums == 1].tolist() != hydrogens[sums == 1].tolist()  # O- looks like OH


def test_valences_ascend_and_hold_the_maximum():
    for number, valences in VALENCES.items():
        assert list(valences) == sorted(valences) and MAXIMUM[number] in valences
    assert (MAXIMUM[16], MAXIMUM[15]) == (4, 5)


def test_nothing_for_no_atoms():
    assert missing_hydrogens(np.zeros(0, int), np.zeros(0, int)).shape == (0,)


def test_unknown_rule():
    with pytest.raises(ValueError, match="hydrogens must be one of smallest, maximum, got 'most'"):
        missing_hydrogens(np.array([6]), np.array([0]), "most")
