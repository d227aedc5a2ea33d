"""Bond lengths and angles of water, where all numbers are known."""

import math

import numpy as np
import pytest

from ditkernels.models.evaluation import geometry_errors
from ditkernels.models.evaluation.geometry import bond_angles, bond_lengths, bonds_and_angles, conformer_positions
from tests.evaluation.molecules import embedded, with_conformers


def water(length: float, angle: float) -> np.ndarray:
    half = math.radians(angle) / 2
    return length * np.array([[0, 0, 0], [math.sin(half), math.cos(half), 0], [-math.sin(half), math.cos(half), 0]])


def test_lengths_and_angles_of_water():
    mol = with_conformers(embedded("O"), water(0.96, 104.5), water(1.0, 180.0))
    bonds, angles = bonds_and_angles(mol)
    positions = conformer_positions(mol)
    np.testing.assert_allclose(bond_lengths(positions, bonds), [[0.96, 0.96], [1.0, 1.0]])
    np.testing.assert_allclose(bond_angles(positions, angles), [[104.5], [180.0]])


def test_errors_are_mean_absolute_deviations():
    mol = embedded("O")
    generated = with_conformers(mol, water(1.0, 104.5), water(0.9, 110.5))
    length, angle = geometry_errors(with_conformers(mol, water(0.96, 104.5)), generated)
    assert length == pytest.approx((0.04 + 0.06) / 2)
    assert angle == pytest.approx(6.0 / 2)


def test_several_references_are_averaged_per_bond():
    mol = embedded("O")
    references = with_conformers(mol, water(0.9, 100.0), water(1.0, 110.0))
    length, angle = geometry_errors(references, with_conformers(mol, water(0.95, 105.0)))
    assert length == pytest.approx(0.0, abs=1e-9) and angle == pytest.approx(0.0, abs=1e-9)


def test_hydrogens_can_be_left_out():
    mol = embedded("CO")
    moved = conformer_positions(mol)[0].copy()
    moved[2:] *= 1.1
    length, angle = geometry_errors(mol, with_conformers(mol, moved), heavy_only=True)
    assert length == pytest.approx(0.0, abs=1e-9)
    assert math.isnan(angle)
    assert geometry_errors(mol, with_conformers(mol, moved))[0] > 0.01


def test_other_atoms_are_an_error():
    with pytest.raises(ValueError, match="same atoms in the same order"):
        geometry_errors(embedded("CO"), embedded("OC"))
