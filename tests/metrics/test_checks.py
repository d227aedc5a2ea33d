"""Plausible geometries pass every check, and each deformation fails the check that is meant for it."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from ditkernels.models.metrics.checks import CHECKS, geometry_checks
from tests.evaluation.molecules import embedded, with_conformers


def moved(mol: Chem.Mol, atoms: list[int], shift) -> Chem.Mol:
    positions = mol.GetConformer().GetPositions()
    positions[atoms] += np.asarray(shift, dtype=float)
    return with_conformers(mol, positions)


def bond_vector(mol: Chem.Mol, a: int, b: int) -> np.ndarray:
    positions = mol.GetConformer().GetPositions()
    return positions[b] - positions[a]


@pytest.mark.parametrize("smiles", ["C", "CCO", "c1ccccc1C", "CC=CC", "C1CC1", "CC(=O)NC", "C#N", "c1ccoc1", "O"])
def test_real_molecules_pass_all(smiles):
    assert geometry_checks(embedded(smiles)) == dict.fromkeys(CHECKS, True)


@pytest.mark.parametrize(("factor", "passes"), [(0.3, False), (0.15, True), (-0.15, True), (-0.3, False)])
def test_bond_lengths_may_leave_the_bounds_by_a_quarter(factor, passes):
    mol = embedded("FC")
    assert geometry_checks(moved(mol, [0], -factor * bond_vector(mol, 0, 1)))["bond lengths"] is passes


def test_a_bent_chain_fails_the_angles():
    mol = embedded("CC#CC")
    positions = mol.GetConformer().GetPositions()
    ends = [a.GetIdx() for a in mol.GetAtomWithIdx(3).GetNeighbors() if a.GetIdx() != 2]
    centre = positions[2]
    # Turn the methyl group about atom 2 by 90 degrees, bonds as they were.
    axis = np.cross(positions[3] - centre, [1.0, 2.0, 3.0])
    axis /= np.linalg.norm(axis)
    turned = positions.copy()
    for atom in (3, *ends):
        arm = positions[atom] - centre
        turned[atom] = centre + np.cross(axis, arm) + axis * (axis @ arm)
    found = geometry_checks(with_conformers(mol, turned))
    assert not found["bond angles"] and found["bond lengths"]


def test_distant_atoms_on_each_other_clash():
    mol = embedded("CCCCCCC")
    onto = bond_vector(mol, 6, 0)
    found = geometry_checks(moved(mol, [6], 0.9 * onto))
    assert not found["no clash"]
    assert geometry_checks(mol)["no clash"]


def normal_of(mol: Chem.Mol, atoms: list[int]) -> np.ndarray:
    points = mol.GetConformer().GetPositions()[atoms]
    return np.linalg.svd(points - points.mean(0))[2][-1]


@pytest.mark.parametrize(
    ("smiles", "atoms", "check"),
    [("c1ccccc1", range(6), "flat aromatic rings"), ("CC(C)=C(C)C", [0, 1, 2, 3, 4, 5], "flat double bonds")],
)
def test_puckered_rings_and_double_bonds_are_not_flat(smiles, atoms, check):
    mol = embedded(smiles)
    normal = normal_of(mol, list(atoms))
    assert not geometry_checks(moved(mol, [0], 0.9 * normal))[check]
    assert geometry_checks(moved(mol, [0], 0.1 * normal))[check]


def test_saturated_rings_need_not_be_flat():
    found = geometry_checks(embedded("C1CCCCC1"))
    assert found["flat aromatic rings"] and found["flat double bonds"]


def test_checks_do_not_depend_on_the_place():
    mol = embedded("c1ccccc1C")
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    positions = mol.GetConformer().GetPositions() @ turn + [10.0, -20, 30]
    assert geometry_checks(with_conformers(mol, positions)) == geometry_checks(mol)
