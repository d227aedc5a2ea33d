"""From raw atoms and bonds to molecules: real ones come back, and each failure has its name."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from ditkernels.models.d3mes.heavy import heavy_record
from ditkernels.models.data.readers import open_reader
from ditkernels.models.molecule.assembly import (
    FAILURES,
    agreement,
    assemble,
    bonds_of,
    components,
    minimized,
)
from ditkernels.models.molecule.raw import RawMolecule
from tests.evaluation.molecules import embedded

QM9 = Path(__file__).parents[1] / "data" / "files" / "qm9_extract.npz"


def stripped(mol: Chem.Mol) -> RawMolecule:
    """Heavy atoms and Kekulé bonds of a molecule with one conformer."""
    found = heavy_record(mol, mol.GetConformer().GetPositions())
    assert isinstance(found, dict), found
    return RawMolecule(
        found["atomic_numbers"].astype(np.int64), found["positions"].astype(np.float64), found["bonds"].astype(np.int64)
    )


def raw(elements, positions, bonds=()) -> RawMolecule:
    return RawMolecule(
        np.array(elements, dtype=np.int64),
        np.array(positions, dtype=np.float64).reshape(-1, 3),
        np.array(bonds, dtype=np.int64).reshape(-1, 3),
    )


def qm9_molecules() -> list[Chem.Mol]:
    """Those of the extract that have no formal charge."""
    reader = open_reader(QM9)
    found = [record.mol for chunk in reader.chunks() for record in reader.records(chunk)]
    return [mol for mol in found if isinstance(heavy_record(mol, mol.GetConformer().GetPositions()), dict)]


def test_real_molecules_come_back_from_their_bonds():
    molecules = qm9_molecules()
    assert len(molecules) > 15
    for mol in molecules:
        given = stripped(mol)
        found = assemble(given)
        assert found.failure is None, found.detail
        assert found.smiles == Chem.MolToSmiles(Chem.RemoveAllHs(mol), isomericSmiles=False)
        assert found.mol.GetNumAtoms() == mol.GetNumAtoms()
        positions = found.mol.GetConformer().GetPositions()
        assert np.array_equal(positions[: len(given.elements)], given.positions)
        for atom in found.mol.GetAtoms():
            if atom.GetAtomicNum() == 1:
                (parent,) = atom.GetNeighbors()
                length = np.linalg.norm(positions[atom.GetIdx()] - positions[parent.GetIdx()])
                assert 0.9 < length < 1.2


def test_bonds_by_distance_find_saturated_molecules():
    for smiles in ("CCO", "CC(C)N", "C1CCOC1", "CC#N", "C=O"):
        mol = embedded(smiles)
        found = assemble(stripped(mol), bonds="geometry")
        assert found.smiles == smiles, found.detail


def test_stereo_is_that_of_the_geometry():
    for smiles in ("C[C@H](F)Cl", "C[C@@H](F)Cl", "C/C=C/C", "C/C=C\\C"):
        found = assemble(stripped(embedded(smiles)))
        assert Chem.MolToSmiles(Chem.RemoveAllHs(found.mol)) == Chem.CanonSmiles(smiles)


def test_the_maximum_rule_adds_hydrogens_to_a_thioether():
    given = stripped(embedded("CSC"))
    assert assemble(given).smiles == "CSC"
    found = assemble(given, hydrogens="maximum")
    assert found.failure is None and found.mol.GetNumAtoms() == assemble(given).mol.GetNumAtoms() + 2


CHAIN = [[0, 0, 0], [1.5, 0, 0], [3, 0, 0]]
FAILING = {
    "no atoms": (raw([], []), "no atom"),
    "unknown element": (raw([6, 0, 6], CHAIN, [[0, 1, 1], [1, 2, 1]]), "atom 2"),
    "over-valence": (raw([6, 8, 6], CHAIN, [[0, 1, 2], [1, 2, 1]]), r"atom 2 \(O\) has bonds of total order 3"),
    "disconnected": (raw([6, 6, 6], CHAIN, [[0, 1, 1]]), "2 parts"),
    "clash": (
        raw([6, 6, 6], [[0, 0, 0], [1.5, 0, 0], [0.5, 0, 0]], [[0, 1, 1], [1, 2, 1]]),
        "atoms 1 and 3 are 0.50 Å",
    ),
}


@pytest.mark.parametrize("failure", FAILING)
def test_each_failure_names_its_atoms(failure):
    given, detail = FAILING[failure]
    found = assemble(given)
    assert found.failure == failure and found.mol is None and found.smiles == ""
    assert re.search(detail, found.detail)


def test_positions_that_are_no_numbers_fail():
    assert assemble(raw([6, 6], [[0, 0, 0], [np.nan, 0, 0]], [[0, 1, 1]])).failure == "unknown element"


def test_the_first_failure_of_the_list_is_named():
    # over-valent, in two parts, and with two atoms in one place
    given = raw([6, 9, 6], [[0, 0, 0], [0, 0, 0], [3, 0, 0]], [[0, 1, 2]])
    assert assemble(given).failure == "over-valence"
    assert FAILURES.index("over-valence") < FAILURES.index("disconnected") < FAILURES.index("clash")


@pytest.mark.parametrize("option", ["hydrogens", "bonds"])
def test_unknown_options(option):
    with pytest.raises(ValueError, match=f"{option} must be one of .*, got 'guess'"):
        assemble(raw([6], [[0, 0, 0]]), **{option: "guess"})


@pytest.mark.parametrize(("element", "hydrogens"), [(6, 4), (7, 3), (8, 2), (9, 1)])
def test_a_single_heavy_atom(element, hydrogens):
    found = assemble(raw([element], [[1.0, 2.0, 3.0]]))
    assert found.mol.GetNumAtoms() == 1 + hydrogens
    positions = found.mol.GetConformer().GetPositions()
    assert len(np.unique(positions.round(3), axis=0)) == 1 + hydrogens


def test_agreement_of_bonds_and_distances():
    good = raw([6, 6, 8], [[0, 0, 0], [1.5, 0, 0], [2.1, 1.05, 0]], [[0, 1, 1], [1, 2, 2]])
    assert agreement(good) == (1.0, 1.0)
    other_order = raw(good.elements, good.positions, [[0, 1, 1], [1, 2, 1]])
    assert agreement(other_order) == (1.0, 0.5)
    other_pair = raw(good.elements, good.positions, [[0, 1, 1], [0, 2, 1]])
    assert agreement(other_pair) == (pytest.approx(1 / 3), 1.0)
    none = raw([6], [[0, 0, 0]])
    assert agreement(none)[0] == 1.0 and np.isnan(agreement(none)[1])


def test_bonds_by_distance_are_sorted_rows():
    given = raw([6, 6, 8], [[0, 0, 0], [1.5, 0, 0], [2.1, 1.05, 0]])
    assert bonds_of(given, "geometry").tolist() == [[0, 1, 1], [1, 2, 2]]
    assert bonds_of(given, "rows").shape == (0, 3)


def test_components():
    assert components(5, np.array([[0, 3, 1], [1, 4, 2]])).tolist() == [0, 1, 2, 0, 1]
    assert components(0, np.zeros((0, 3))).shape == (0,)
    ring = components(4, np.array([[0, 1, 1], [1, 2, 1], [2, 3, 1], [0, 3, 1]]))
    assert ring.tolist() == [0, 0, 0, 0]


def test_relaxed_molecules_are_the_same_molecules():
    found = assemble(stripped(embedded("CC(=O)NC")))
    relaxed = minimized(found)
    assert relaxed.relaxed and not found.relaxed and relaxed.smiles == found.smiles
    before, after = (m.mol.GetConformer().GetPositions() for m in (found, relaxed))
    assert 0.001 < np.abs(after - before).max() < 2
    failed = assemble(raw([], []))
    assert minimized(failed) is failed
