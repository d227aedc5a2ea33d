"""Stereochemistry of conformers, against ETKDG geometries and RDKit's own perception."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem
from rdkit.Chem.EnumerateStereoisomers import EnumerateStereoisomers

from ditkernels.models.molecule.featurize import parse_smiles
from ditkernels.models.molecule.stereo import MIRROR, OK, WRONG, check_stereo, mirror, stereo_elements

SPECIFIED = [
    "F[C@H](Cl)Br",
    "C[C@@H](N)C(=O)O",
    "C[S@](=O)CC",
    "C[S@@](=O)c1ccccc1",
    "C[P@](CC)c1ccccc1",
    "O=[P@](C)(O)CC",
    "C[Si@](F)(Cl)CC",
    "C[N@+](CC)(c1ccccc1)CCC",
    "C[C@@H]1O[C@H]1C",
    "N[C@@H]1C[C@H]1c1ccccc1",
    "C[C@H]1CC[C@@H](C)CC1",
    "[2H][C@H](C)O",
    "CC1(C)S[C@@H]2[C@H](NC(=O)C)C(=O)N2[C@H]1C(=O)O",
    "CN1CC[C@]23c4c5ccc(O)c4O[C@H]2[C@@H](O)C=C[C@H]3[C@H]1C5",
    "F/C=C\\F",
    "C/C=C/C",
    "C/C(=N\\O)c1ccccc1",
    "[H]/N=C(/C)CC",
    "C1CCCC/C=C/C1",
    "C1CCCCC/C=C\\CC1",
    "C[C@@H](O)/C=C/C=C\\[C@H](N)C",
]


def embedded(smiles, count=3):
    mol = parse_smiles(smiles)
    ids = list(AllChem.EmbedMultipleConfs(mol, count, randomSeed=11))
    assert len(ids) == count
    return mol, np.stack([mol.GetConformer(i).GetPositions() for i in ids])


def statuses(smiles, positions):
    return [check.status for check in check_stereo(stereo_elements(parse_smiles(smiles)), positions)]


@pytest.mark.parametrize("smiles", SPECIFIED)
def test_right_conformers_and_their_mirror_images(smiles):
    mol, positions = embedded(smiles)
    elements = stereo_elements(mol)
    assert elements.any_specified
    assert statuses(smiles, positions) == [OK] * 3
    # Double bonds look the same in a mirror.
    assert statuses(smiles, mirror(positions)) == [MIRROR if elements.center_names else OK] * 3
    assert statuses(smiles, mirror(mirror(positions))) == [OK] * 3


@pytest.mark.parametrize("smiles", ["C[C@@H](N)[C@H](O)CC", "C[C@@H](O)/C=C/C", "F/C=C/C=C\\Cl", "C[C@H](F)[S@](=O)CC"])
def test_agrees_with_perception_from_coordinates(smiles):
    """All stereoisomers: right exactly for the conformers that RDKit reads as the molecule asked for."""
    plain = Chem.MolFromSmiles(Chem.MolToSmiles(Chem.MolFromSmiles(smiles), isomericSmiles=False))
    seen = []
    for isomer in EnumerateStereoisomers(plain):
        mol = Chem.AddHs(isomer)
        assert AllChem.EmbedMolecule(mol, randomSeed=5) == 0
        match = mol.GetSubstructMatch(Chem.AddHs(Chem.MolFromSmiles(smiles)), useChirality=False)
        asked = parse_smiles(smiles)
        placed = Chem.Mol(asked)
        conformer = Chem.Conformer(placed.GetNumAtoms())
        conformer.SetPositions(mol.GetConformer().GetPositions()[list(match)])
        placed.AddConformer(conformer)
        [check] = check_stereo(stereo_elements(asked), placed.GetConformer().GetPositions()[None])
        Chem.AssignStereochemistryFrom3D(placed)
        assert (check.status == OK) == (Chem.MolToSmiles(Chem.RemoveHs(placed)) == Chem.CanonSmiles(smiles))
        seen.append(check.status)
    assert seen.count(OK) == 1
    assert len(seen) == 4


def test_one_wrong_center_of_two_is_named_and_no_mirror_mends_it():
    _, positions = embedded("C[C@@H](N)[C@@H](O)CC")
    checks = check_stereo(stereo_elements(parse_smiles("C[C@@H](N)[C@H](O)CC")), positions)
    assert [(check.status, check.wrong) for check in checks] == [(WRONG, ("C4",))] * 3


def test_wrong_double_bond_is_named():
    _, positions = embedded("F/C=C/F")
    [check, *_] = check_stereo(stereo_elements(parse_smiles("F/C=C\\F")), positions)
    assert (check.status, check.wrong) == (WRONG, ("C2=C3",))


def test_mirror_does_not_mend_a_wrong_double_bond():
    _, positions = embedded("C[C@@H](O)/C=C/C")
    assert statuses("C[C@H](O)/C=C\\C", positions) == [WRONG] * 3


def test_order_of_the_atoms_does_not_matter():
    """Hydrogens in front, as in some SD files."""
    mol, positions = embedded("C[C@@H](O)[C@H](F)Cl", 1)
    order = list(range(mol.GetNumAtoms()))[::-1]
    turned = Chem.RenumberAtoms(mol, order)
    [check] = check_stereo(stereo_elements(turned), positions[:, order])
    [reflected] = check_stereo(stereo_elements(turned), mirror(positions)[:, order])
    assert (check.status, reflected.status) == (OK, MIRROR)


def test_misplaced_hydrogen_is_wrong():
    """Among its three heavy neighbors: right for a program that ignores hydrogens, wrong for one that does not."""
    _, positions = embedded("F[C@H](Cl)Br", 1)
    misplaced = positions.copy()
    misplaced[0, 4] = 2 * positions[0, 1] - positions[0, 4]
    assert statuses("F[C@H](Cl)Br", misplaced) == [WRONG]
    assert statuses("F[C@@H](Cl)Br", misplaced) == [WRONG]


def test_center_below_the_plane_of_its_heavy_neighbors_is_wrong():
    """The hydrogen alone carries the handedness here."""
    _, positions = embedded("F[C@H](Cl)Br", 1)
    heavy = positions[0, [0, 2, 3]]
    normal = np.cross(heavy[1] - heavy[0], heavy[2] - heavy[0])
    normal /= np.linalg.norm(normal)
    height = (positions[0, 1] - heavy[0]) @ normal
    sunk = positions.copy()
    sunk[0, 1] -= 1.5 * height * normal
    sunk[0, 4] = sunk[0, 1] + 2 * height * normal / abs(height)
    assert statuses("F[C@H](Cl)Br", sunk) == [WRONG]


def test_flat_center_is_wrong():
    _, positions = embedded("F[C@H](Cl)Br", 1)
    assert statuses("F[C@H](Cl)Br", positions * [1, 1, 0]) == [WRONG]


def test_twisted_double_bond_is_wrong():
    smiles = "F/C=C/F"
    planar = np.array([[-1.7, 1.0, 0], [-0.7, 0, 0], [0.7, 0, 0], [1.7, -1.0, 0], [-1.2, -0.9, 0], [1.2, 0.9, 0]])
    assert statuses(smiles, planar[None]) == [OK]
    twisted = planar.copy()
    twisted[[3, 5]] = np.stack([planar[[3, 5], 0], planar[[3, 5], 2], planar[[3, 5], 1]], axis=1)
    assert statuses(smiles, twisted[None]) == [WRONG]


def test_collapsed_conformer_is_wrong():
    assert statuses("F[C@H](Cl)Br", np.zeros((1, 5, 3))) == [WRONG]
    assert statuses("F/C=C/F", np.zeros((1, 6, 3))) == [WRONG]
    _, positions = embedded("F[C@H](Cl)Br", 1)
    assert statuses("F[C@H](Cl)Br", 0.3 * positions) == [WRONG]


def test_unspecified_elements_stay_open():
    mol, positions = embedded("CC(N)C=CC(F)=O")
    elements = stereo_elements(mol)
    assert not elements.any_specified
    assert elements.unspecified == ("C2", "C4=C5")
    assert [check.status for check in check_stereo(elements, mirror(positions))] == [OK] * 3


def test_partly_specified_molecule_checks_what_is_specified():
    elements = stereo_elements(parse_smiles("C[C@H](N)C(O)Cl"))
    assert (elements.center_names, elements.unspecified) == (("C2",), ("C4",))


def test_double_bond_of_a_small_ring_is_no_element():
    elements = stereo_elements(parse_smiles("C1CC/C=C\\C1"))
    assert not elements.any_specified
    assert elements.unspecified == ()


def test_allene_is_out_of_scope():
    elements = stereo_elements(parse_smiles("CC=C=CC"))
    assert not elements.any_specified
    assert elements.unspecified == ()


def test_square_planar_center_is_listed_as_unchecked():
    elements = stereo_elements(parse_smiles("F[Pt@SP1](Cl)(Br)I"))
    assert elements.unchecked == ("Pt2",)
