"""Molecules without their hydrogens: what is kept, in which order, and from the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from rdkit import Chem

from ditkernels.models.d3mes.heavy import heavy_molecules, heavy_record
from ditkernels.models.d3mes.split import split_rows
from ditkernels.models.data.readers import open_reader
from ditkernels.models.data.records import Record

FILE = Path(__file__).parents[1] / "data" / "files" / "qm9_extract.npz"


def record_of(smiles):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    return mol, np.random.default_rng(0).normal(size=(mol.GetNumAtoms(), 3)).astype(np.float32)


@pytest.mark.parametrize("smiles", ["OCC", "CC(=O)c1ccccc1", "C1CC1C#N", "O=S(=O)(C)C", "C"])
def test_arrays_are_the_molecule_in_the_order_of_its_smiles(smiles):
    mol, positions = record_of(smiles)
    found = heavy_record(mol, positions)
    built = Chem.RWMol()
    for number in found["atomic_numbers"].tolist():
        built.AddAtom(Chem.Atom(number))
    for a, b, order in found["bonds"].tolist():
        assert a < b
        built.AddBond(a, b, Chem.BondType.values[order])
    Chem.SanitizeMol(built)
    expected = Chem.MolToSmiles(Chem.RemoveAllHs(mol))
    assert Chem.MolToSmiles(built) == expected
    # RDKit reads the atoms of a SMILES in the order in which they stand there.
    assert_array_equal(found["atomic_numbers"], [a.GetAtomicNum() for a in Chem.MolFromSmiles(expected).GetAtoms()])
    assert bool(found["cyclic"][0]) == ("1" in smiles)


def test_positions_go_with_their_atoms():
    mol, positions = record_of("OCC(F)=O")
    found = heavy_record(mol, positions)
    for position, number in zip(found["positions"], found["atomic_numbers"]):
        (place,) = np.flatnonzero((positions == position).all(axis=1))
        assert mol.GetAtomWithIdx(int(place)).GetAtomicNum() == number


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("C[NH3+]", "formal charges"),
        ("C[N+](=O)[O-]", "formal charges"),
        ("C[CH2]", "radical"),
        ("C.O", "several fragments"),
        ("[H][H]", "no heavy atom"),
    ],
)
def test_what_valences_cannot_give_back_is_left_out(smiles, reason):
    assert heavy_record(*record_of(smiles)) == reason


def test_the_cache_gives_the_same_again(tmp_path):
    reader = open_reader(FILE)
    first = heavy_molecules(reader, tmp_path, workers=1)
    (path,) = tmp_path.iterdir()
    stamp = path.stat().st_mtime_ns
    second = heavy_molecules(reader, tmp_path, workers=1)
    assert path.stat().st_mtime_ns == stamp and second.reasons == first.reasons
    for name, array in vars(first).items():
        assert_array_equal(array, getattr(second, name))
    assert len(first) + sum(first.reasons.values()) == int(first.entries)
    records = [r for chunk in reader.chunks() for r in reader.records(chunk)]
    for m in range(len(first)):
        record = records[first.row[m]]
        assert isinstance(record, Record)
        rows = slice(first.atom_ptr[m], first.atom_ptr[m + 1])
        assert_allclose(first.positions[rows], heavy_record(record.mol, record.positions)["positions"])


def test_a_damaged_cache_is_named(tmp_path):
    heavy_molecules(open_reader(FILE), tmp_path, workers=1)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="is damaged .* delete it"):
        heavy_molecules(open_reader(FILE), tmp_path, workers=1)


def test_a_split_has_every_record_once():
    parts = split_rows(50, train=30, validation=15, seed=3)
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [30, 15, 5]
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(50))
    assert all((np.diff(rows) > 0).all() for rows in parts.values())
    assert_array_equal(split_rows(50, 30, 15, seed=3)["test"], parts["test"])
    assert not np.array_equal(split_rows(50, 30, 15, seed=4)["test"], parts["test"])


def test_the_split_is_that_of_edm():
    """The first records of numpy's permutation with seed 0."""
    assert_array_equal(split_rows(20, 5, 5)["train"], np.sort(np.random.RandomState(0).permutation(20)[:5]))


@pytest.mark.parametrize(("train", "validation"), [(10, 10), (-1, 3), (3, -1), (30, 0)])
def test_splits_that_leave_no_test_set(train, validation):
    with pytest.raises(ValueError, match="leaves none of 20 for the test"):
        split_rows(20, train, validation)
