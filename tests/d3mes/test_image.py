"""Molecules to images and back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from ditkernels.models.d3mes.config import NAMED
from ditkernels.models.d3mes.image import decode
from ditkernels.models.molecule.raw import RawMolecule
from tests.support.d3mes import SMILES, images_of, molecules

LAYOUTS = {"code": NAMED["d3mes-code"], "v2": NAMED["d3mes-so3-e"]}
WIDE = dataclasses.replace(
    LAYOUTS["v2"], elements=("C", "N", "O", "S", "P", "Cl"), rows=75, max_atoms=70, bond_scale=2.0, position_scale=2.5
)
"""Other elements than four, and many atoms."""


def decoded(images, config, found):
    counts = torch.tensor([len(m.elements) for m in found]) if config.layout == "v2" else None
    return decode(images, counts, config)


def assert_same(found, expected, centred):
    for a, b in zip(found, expected, strict=True):
        assert_array_equal(a.elements, b.elements)
        assert_array_equal(a.bonds, b.bonds)
        assert_allclose(a.positions, b.positions - (b.positions.mean(0) if centred else 0), atol=1e-5)
        assert (a.ambiguous, a.dropped_bonds) == (0, 0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_decoding_gives_the_molecule_back(layout):
    config, found = LAYOUTS[layout], molecules(SMILES * 3)
    images = images_of(found, config)
    assert images.shape == (len(found), config.channels, config.rows, 3) and images.dtype == torch.float32
    assert_same(decoded(images, config, found), found, centred=layout == "v2")


def test_large_molecules_of_other_elements():
    found = molecules(["C" * 60, "OP(=S)(Cl)CNCCCC", "c1ccc2cc3ccccc3cc2c1"])
    assert_same(decoded(images_of(found, WIDE), WIDE, found), found, centred=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_noise_of_a_third_of_a_code_does_no_harm(layout):
    """In layout v2 codes of atoms in bond rows are a quarter of their scale apart, of elements a scale; else 1."""
    config, found = LAYOUTS[layout], molecules()
    noise = 0.3 * (2 * torch.rand((len(found), config.channels, config.rows, 3)) - 1)
    if layout == "v2":
        noise[:, 1:-1] *= config.element_scale
        noise[:, -1] *= config.bond_scale / 4
    noise[:, 0] = 0
    cleaned = decoded(images_of(found, config) + noise, config, found)
    assert_same([dataclasses.replace(m, ambiguous=0) for m in cleaned], found, centred=layout == "v2")


def test_layout_code_is_that_of_the_released_program():
    (found,) = molecules(["C=O"])
    image = images_of([found], LAYOUTS["code"])[0]
    assert_allclose(image[0, :2], found.positions, rtol=1e-6)
    assert image[1, :2].tolist() == [[1, 0, 0], [0, 0, 1]]
    assert image[2, 0].tolist() == [1, 2, 2]
    assert not image[:, 2:].any() and not image[2, 1].any()


def test_scales_of_layout_v2():
    config, found = LAYOUTS["v2"], molecules()
    images, positions = images_of(found, config), found[-1].positions
    assert images[:, -1].min() == -config.bond_scale and images[:, -1].max() == config.bond_scale
    assert set(images[:, 1:-1].unique().tolist()) == {0.0, config.element_scale}
    assert (images[:, 1:-1].flatten(1).sum(-1) == config.element_scale * config.rows).all()
    assert_allclose(images[-1, 0, :8], (positions - positions.mean(0)) / config.position_scale, atol=1e-6)


def test_holes_in_layout_code_move_the_atoms_of_bonds():
    config = LAYOUTS["code"]
    image = torch.zeros(1, 3, 27, 3)
    image[0, 1, [0, 5, 7]] = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]])
    image[0, 2, 3] = torch.tensor([6.0, 8, 2])
    image[0, 2, 9] = torch.tensor([1.0, 6, 0.2])  # the nearest order is 1
    (found,) = decode(image, None, config)
    assert found.elements.tolist() == [6, 8, 7]
    assert found.bonds.tolist() == [[0, 1, 1], [1, 2, 2]]


def test_impossible_bonds_are_counted():
    """A self loop, an atom that does not exist, a pair twice, an atom far outside; the last row is a bond."""
    config = LAYOUTS["code"]
    (ethane,) = molecules(["CC"])
    image = images_of([ethane], config)
    image[0, 2, :5] = torch.tensor([[1.0, 1, 1], [1, 3, 1], [1, 2, 1], [1, 2, 1], [-40, 90, 1]])
    (found,) = decode(image, None, config)
    assert (found.bonds.tolist(), found.dropped_bonds) == ([[0, 1, 1]], 4)


def test_impossible_bonds_are_counted_in_layout_v2():
    """Bonds of a chain of nine atoms, of which two exist, and one of the others again."""
    config = LAYOUTS["v2"]
    image = images_of(molecules(["C" * 9]), config)
    image[0, -1, 12] = image[0, -1, 5]
    (found,) = decode(image, torch.tensor([2]), config)
    assert (found.bonds.tolist(), found.dropped_bonds) == ([[0, 1, 1]], 8)
    (found,) = decode(image, torch.tensor([9]), config)
    assert (len(found.bonds), found.dropped_bonds) == (8, 1)


def test_bonds_of_layout_v2_stand_in_the_row_of_their_later_atom():
    """Rows 1 to 7 are the tree of the SMILES, the rest closes rings: first in rows beyond the atoms, then in row 0."""
    config = dataclasses.replace(LAYOUTS["v2"], rows=12, max_atoms=8)
    (found,) = molecules(["C12C3C4C1C5C2C3C45"])  # cubane has 12 bonds
    rows = images_of([found], config)[0, -1]
    values = torch.round((rows / config.bond_scale + 1) / 2 * torch.tensor([7.0, 7, 3])).long()
    assert values[1:8, 1].tolist() == list(range(1, 8))
    assert values[1:8, 0].tolist() == [
        max(a for a, b, _ in found.bonds.tolist() if b == later) for later in range(1, 8)
    ]
    assert values[[8, 9, 10, 11, 0], 1].diff().min() >= 0
    assert sorted(values.tolist()) == sorted(found.bonds.tolist())


def test_atoms_in_any_order_have_rows_for_all_bonds():
    """Where an atom has later neighbours only, its row is free."""
    config, (found,) = LAYOUTS["v2"], molecules(["CCCC"])
    shuffled = dataclasses.replace(found, bonds=np.array([[0, 3, 1], [1, 2, 2], [1, 3, 1]]))
    images = images_of([shuffled], config)
    assert_same(decoded(images, config, [found]), [shuffled], centred=True)
    taken = (images[0, -1] != config.bond_scale * torch.tensor([1.0, -1, -1])).any(-1)
    assert taken.nonzero().flatten().tolist() == [2, 3, 4]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ambiguous_elements_are_counted(layout):
    config = LAYOUTS[layout]
    found = molecules(["CCO"])
    images = images_of(found, config)
    images[0, 1, 1] += 0.5 * (1 if layout == "code" else config.element_scale)
    (mixed,) = decoded(images, config, found)
    assert mixed.ambiguous == 1 and len(mixed.elements) == 3


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("number", [1e9, -1e30, float("inf"), float("nan")])
@pytest.mark.filterwarnings("error")
def test_any_numbers_decode(layout, number):
    config = LAYOUTS[layout]
    found = molecules(["CCO", "CCO"])
    images = images_of(found, config)
    images[0] = number
    wild, tame = decoded(images, config, found)
    assert_same([tame], [found[1]], centred=layout == "v2")
    assert not len(wild.bonds)
    assert np.isfinite(number) or not wild.elements.any()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"elements": np.array([6, 16, 6])}, "atomic number 16 is not among the elements C, N, O, F"),
        ({"bonds": np.array([[1, 0, 1]])}, "a < b < n"),
        ({"bonds": np.array([[1, 3, 1]])}, "a < b < n"),
        ({"bonds": np.array([[-1, 1, 1]])}, "a < b < n"),
        ({"bonds": np.array([[0, 1, 0]])}, "order"),
        ({"bonds": np.array([[0, 1, 4]])}, "order"),
        ({"bonds": np.tile([[0, 1, 1]], (28, 1))}, "28 bonds does not fit"),
    ],
)
def test_molecules_that_no_image_holds(layout, change, sentence):
    whole = vars(molecules(["CCC"])[0])
    with pytest.raises(ValueError, match=sentence):
        images_of([*molecules(["CC"]), RawMolecule(**whole | change)], LAYOUTS[layout])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_too_many_atoms(layout):
    with pytest.raises(ValueError, match="10 atoms does not fit into an image for 9"):
        images_of(molecules(["C" * 10]), LAYOUTS[layout])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_counts_go_with_layout_v2(layout):
    images = images_of(molecules(["CC"]), LAYOUTS[layout])
    with pytest.raises(ValueError, match="counts"):
        decode(images, torch.tensor([2]) if layout == "code" else None, LAYOUTS[layout])
