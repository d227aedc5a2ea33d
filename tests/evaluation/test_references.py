"""Reference files: stereoisomers apart, conformers together, splits, near-duplicates."""

import gzip

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDepictor

from ditkernels.models.evaluation import ReferenceSet, choose, deduplicate, read_references
from tests.evaluation.molecules import embedded, rotation, with_conformers


def write(path, *records):
    """SDF file of (name, split, molecule) with one record per conformer."""
    with gzip.open(path, "wt") as stream:
        writer = Chem.SDWriter(stream)
        for name, split, mol in records:
            mol = Chem.Mol(mol)
            mol.SetProp("_Name", name)
            mol.SetProp("split", split)
            for conformer in mol.GetConformers():
                writer.write(mol, confId=conformer.GetId())
        writer.close()
    return path


def test_conformers_of_a_stereoisomer_are_one_set(tmp_path):
    left, right = embedded("C[C@H](F)CO", 2), embedded("C[C@@H](F)CO", 1)
    renumbered = Chem.RenumberAtoms(left, list(reversed(range(left.GetNumAtoms()))))
    path = write(tmp_path / "a.sdf.gz", ("a", "test", left), ("b", "test", right), ("c", "test", renumbered))
    sets, rejected = read_references(path)
    assert rejected == []
    assert [(s.name, s.count) for s in sets] == [("a", 4), ("b", 1)]
    assert deduplicate(sets[0], 0.01).count == 2


def test_split_of_the_file_is_respected(tmp_path):
    path = write(tmp_path / "a.sdf.gz", ("a", "train", embedded("CCO")), ("b", "test", embedded("CCN")))
    sets, _ = read_references(path, "test")
    assert [s.smiles for s in sets] == ["CCN"]
    with pytest.raises(ValueError, match="no usable reference"):
        read_references(path, "validation")


def test_unusable_records_are_reported(tmp_path):
    flat = Chem.MolFromSmiles("CCO")
    rdDepictor.Compute2DCoords(flat)
    sets, rejected = read_references(
        write(tmp_path / "a.sdf.gz", ("flat", "test", flat), ("b", "test", embedded("CC")))
    )
    assert len(sets) == 1
    assert len(rejected) == 1 and rejected[0].startswith("flat: ")


def test_near_duplicates_are_merged():
    mol = embedded("CCCO")
    positions = mol.GetConformer().GetPositions()
    twice = ReferenceSet("x", "CCCO", with_conformers(mol, positions, positions @ rotation(0) + 5))
    assert deduplicate(twice, 0.25).count == 1
    assert twice.count == 2


def test_choice_is_seeded_and_ordered():
    items = list(range(100))
    chosen = choose(items, 10, seed=3)
    assert chosen == sorted(chosen) == choose(items, 10, seed=3)
    assert len(set(chosen)) == 10 and chosen != choose(items, 10, seed=4)
    assert choose(items, None, 0) == items == choose(items, 1000, 0)
    assert np.all(np.diff(chosen) > 0)
