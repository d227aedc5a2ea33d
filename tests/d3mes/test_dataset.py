"""Training molecules: what fits, classes, and images of the same molecule turned or in another order."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from rdkit import Chem

from ditkernels.models.d3mes.config import NAMED
from ditkernels.models.d3mes.dataset import HeavyDataset
from ditkernels.models.d3mes.heavy import heavy_molecules
from ditkernels.models.d3mes.image import decode
from ditkernels.models.data.readers import open_reader
from ditkernels.models.ditmc.geometry import random_rotations
from ditkernels.models.molecule.assembly import assemble

FILE = Path(__file__).parents[1] / "data" / "files" / "qm9_extract.npz"
CONFIG = NAMED["d3mes-dtm"]
SEED = 1
"""Of a split that has molecules of both classes among the training molecules."""


@pytest.fixture(scope="module")
def molecules(tmp_path_factory):
    return heavy_molecules(open_reader(FILE), tmp_path_factory.mktemp("cache"), workers=1)


def dataset(molecules, balance=False, **options):
    entries = int(molecules.entries)
    config = dataclasses.replace(CONFIG, **options)
    return HeavyDataset(molecules, config, entries - 10, 5, SEED, balance)


def raw_of(found, entries, **options):
    images, _, count = found.images(entries, **{"rotations": None, "shuffle": None} | options)
    return decode(images, count, found.config)


def test_images_are_the_molecules(molecules):
    found = dataset(molecules)
    entries = found.entries("train")[::2]
    for entry, raw in zip(entries, raw_of(found, entries), strict=True):
        atoms = slice(molecules.atom_ptr[entry], molecules.atom_ptr[entry + 1])
        bonds = slice(molecules.bond_ptr[entry], molecules.bond_ptr[entry + 1])
        assert_array_equal(raw.elements, molecules.atomic_numbers[atoms])
        assert_array_equal(raw.bonds, molecules.bonds[bonds])
        positions = molecules.positions[atoms]
        assert_allclose(raw.positions, positions - positions.mean(axis=0), atol=1e-5)


def test_other_orders_are_the_same_molecules(molecules):
    found = dataset(molecules)
    entries = found.entries("train")
    shuffled = raw_of(found, entries, shuffle=np.random.default_rng(0))
    moved = 0
    for plain, other in zip(raw_of(found, entries), shuffled, strict=True):
        assert assemble(other).smiles == assemble(plain).smiles != ""
        assert_allclose(*(np.sort(np.linalg.norm(r.positions, axis=1)) for r in (plain, other)), atol=1e-5)
        for raw in (plain, other):
            a, b = raw.bonds[:, 0], raw.bonds[:, 1]
            lengths = np.linalg.norm(raw.positions[a] - raw.positions[b], axis=1)
            assert (lengths > 1.0).all() and (lengths < 1.7).all()
        moved += not np.array_equal(plain.elements, other.elements)
    assert moved > len(entries) / 4


def test_rotations_turn_each_molecule_by_its_own(molecules):
    found = dataset(molecules)
    entries = found.entries("train")
    rotations = random_rotations(len(entries), torch.Generator().manual_seed(0)).double().numpy()
    turned = raw_of(found, entries, rotations=rotations)
    for plain, other, rotation in zip(raw_of(found, entries), turned, rotations, strict=True):
        assert_allclose(other.positions, plain.positions @ rotation.T, atol=1e-5)
        assert_array_equal(other.bonds, plain.bonds)


def test_molecules_that_do_not_fit_are_counted(molecules):
    found = dataset(molecules, max_atoms=8, elements=("C", "O"))
    few = np.concatenate([found.entries(part) for part in ("train", "validation", "test")])
    fits = [
        molecules.atom_counts[m] <= 8
        and set(molecules.atomic_numbers[molecules.atom_ptr[m] : molecules.atom_ptr[m + 1]].tolist()) <= {6, 8}
        for m in range(len(molecules))
    ]
    assert sorted(few.tolist()) == np.flatnonzero(fits).tolist()
    assert found.left_out["more than 8 atoms"] == int((molecules.atom_counts > 8).sum()) > 0
    assert found.left_out["elements other than C, O"] > 0


def test_parts_are_disjoint(molecules):
    found = dataset(molecules)
    parts = [set(found.entries(part).tolist()) for part in ("train", "validation", "test")]
    assert all(parts) and not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


def test_labels_say_whether_there_is_a_ring(molecules):
    found = dataset(molecules, classes=2)
    for label in (0, 1):
        entries = found.entries("train", label)
        assert len(entries) and (found.images(entries, None, None)[1] == label).all()
        for raw in raw_of(found, entries):
            mol = Chem.MolFromSmiles(assemble(raw).smiles)
            assert (mol.GetRingInfo().NumRings() > 0) == bool(label)
    assert not dataset(molecules).labels.any()


def test_balance_shows_both_classes_equally_often(molecules):
    found = dataset(molecules, balance=True, classes=2)
    shown = [len(found.entries("train", label)) * pool.weight for label, pool in enumerate(found.sources)]
    assert shown[0] == pytest.approx(shown[1]) and [pool.name for pool in found.sources] == ["acyclic", "cyclic"]
    assert [pool.weight for pool in dataset(molecules, classes=2).sources] == [1.0, 1.0]
