"""Kept-aside molecules come back from the cache as the molecules they were."""

from __future__ import annotations

import numpy as np
from rdkit import Chem

from ditkernels.models.data.cache import CachedMolecules
from ditkernels.models.data.dataset import MoleculeDataset, Source
from ditkernels.models.data.export import molecule_of, write_split
from ditkernels.models.data.preprocess import preprocess
from ditkernels.models.data.readers import open_reader


def test_every_entry_is_rebuilt_with_its_geometry_and_stereo(caches):
    for cache in caches:
        for entry in range(len(cache)):
            mol = molecule_of(cache, entry)
            assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == cache.smiles_of(entry)
            rows = slice(cache.atom_ptr[entry], cache.atom_ptr[entry + 1])
            assert np.allclose(mol.GetConformer().GetPositions(), cache.positions[rows], atol=1e-6)


def test_charges_radicals_and_aromatic_bonds_survive(tmp_path):
    path = tmp_path / "charged.sdf"
    with Chem.SDWriter(str(path)) as writer:
        for smiles in ("C[N+](C)(C)C", "[O-]C=O", "[O-][n+]1ccccc1", "[CH3]", "c1cc[nH]c1"):
            mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
            conformer = Chem.Conformer(mol.GetNumAtoms())
            conformer.SetPositions(np.random.default_rng(0).normal(size=(mol.GetNumAtoms(), 3)) * 5)
            mol.AddConformer(conformer)
            writer.write(mol)
    cache: CachedMolecules = preprocess(open_reader(path), root=tmp_path / "cache", workers=1)
    found = {Chem.MolToSmiles(Chem.RemoveHs(molecule_of(cache, entry))) for entry in range(len(cache))}
    assert found == {"C[N+](C)(C)C", "O=C[O-]", "[O-][n+]1ccccc1", "[CH3]", "c1cc[nH]c1"}


def test_a_split_is_written_with_its_name(caches, tmp_path):
    dataset = MoleculeDataset([Source("a", caches[0], validation=0.3, test=0.1)])
    path = tmp_path / "validation.sdf"
    count = write_split(dataset, "validation", 0, path)
    mols = list(Chem.SDMolSupplier(str(path), removeHs=False))
    assert count == len(mols) == len(dataset.entries("validation")) > 1
    assert {mol.GetProp("split") for mol in mols} == {"validation"}
    assert write_split(dataset, "validation", 0, path, limit=1) == 1
