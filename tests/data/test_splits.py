"""No molecular graph lies in two splits, within a source or across sources."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from ditkernels.models.data.dataset import MoleculeDataset, Source
from ditkernels.models.data.records import SPLITS, connectivity_key, connectivity_smiles
from ditkernels.models.data.splits import EXCLUDED, TEST, TRAIN, VALIDATION, assign, keys_of_smiles_file, unify


def random_keys(count, seed=0):
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def test_shares_are_as_asked_and_named_splits_win():
    keys = random_keys(20_000)
    given = np.full(len(keys), 255, np.uint8)
    given[:100] = TRAIN
    split = assign(keys, given, validation=0.05, test=0.1)
    assert abs((split[100:] == TEST).mean() - 0.1) < 0.01 and abs((split[100:] == VALIDATION).mean() - 0.05) < 0.01
    assert (split[:100] == TRAIN).all()


def test_sources_with_other_shares_agree_on_common_graphs():
    keys = random_keys(5000)
    unset = np.full(len(keys), 255, np.uint8)
    shares = ((0.02, 0.02), (0.05, 0.05))
    splits = unify([keys, keys], [assign(keys, unset, *share) for share in shares], np.zeros(0, np.uint64))
    assert np.array_equal(splits[0], splits[1])
    assert (splits[0] == TEST).sum() > 200


def test_conformers_of_one_graph_stay_together():
    keys = np.repeat(random_keys(1000), 5)
    split = assign(keys, np.full(len(keys), 255, np.uint8), 0.1, 0.1).reshape(1000, 5)
    assert (split == split[:, :1]).all()


def test_excluded_molecules_leave_training_only(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("smiles,n,corrected_smiles\nOCC,1,N[C@@H](C)C(=O)O\nnot smiles,1,\n")
    excluded = keys_of_smiles_file(path)
    keys = np.array([connectivity_key(s) for s in ("CCO", "CC(N)C(=O)O", "CCC")], np.uint64)
    splits = unify([keys], [np.array([TRAIN, TEST, TRAIN], np.uint8)], excluded)
    assert splits[0].tolist() == [EXCLUDED, TEST, TRAIN]


def test_a_list_without_smiles_is_refused(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("name\nethanol\n")
    with pytest.raises(ValueError, match="no column with 'smiles'"):
        keys_of_smiles_file(path)


def test_the_key_ignores_stereo_and_atom_order():
    texts = ["N[C@@H](C)C(=O)O", "N[C@H](C)C(=O)O", "OC(=O)C(C)N"]
    keys = {connectivity_key(connectivity_smiles(Chem.AddHs(Chem.MolFromSmiles(t)))) for t in texts}
    assert len(keys) == 1


def test_every_entry_of_a_dataset_is_in_one_split(caches):
    sources = [Source(n, c, validation=0.2, test=0.2) for n, c in zip(("a", "b", "again"), (*caches, caches[0]))]
    dataset = MoleculeDataset(sources)
    parts = [dataset.entries(split) for split in SPLITS]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(dataset)))
    keys = np.concatenate([s.cache.keys for s in sources])
    graphs = [set(keys[p].tolist()) for p in parts]
    assert not any(graphs[i] & graphs[j] for i in range(4) for j in range(i))


@pytest.mark.parametrize("shares", [(-0.1, 0.1), (0.5, 0.5), (0.1, 1.0)])
def test_impossible_shares_are_refused(shares):
    with pytest.raises(ValueError, match="shares kept aside"):
        assign(random_keys(3), np.full(3, 255, np.uint8), *shares)
