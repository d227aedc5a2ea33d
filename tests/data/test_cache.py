"""The preprocessing cache: found again, rebuilt when the input changes, complete, and honest about what it dropped."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from rdkit import Chem

from ditkernels.models.data.cache import CachedMolecules
from ditkernels.models.data.preprocess import cache_folder, preprocess, report_table
from ditkernels.models.data.readers import open_reader
from ditkernels.models.molecule.featurize import molecular_graph


def test_arrays_hold_what_the_featuriser_gives(caches, cascade):
    _, cache = caches
    reader = open_reader(cascade)
    records = [r for chunk in reader.chunks() for r in reader.records(chunk)]
    assert len(cache) == len(records)
    for m, record in enumerate(records):
        graph = molecular_graph(record.mol, "drugs")
        atoms, pairs = slice(*cache.atom_ptr[m : m + 2]), slice(*cache.pair_ptr[m : m + 2])
        bonds = slice(*cache.bond_ptr[m : m + 2])
        assert np.array_equal(cache.atomic_numbers[atoms], graph.atomic_numbers)
        assert np.array_equal(np.unpackbits(cache.atom_features[atoms], axis=1, count=94), graph.atom_features)
        assert np.array_equal(cache.bonds[bonds], graph.bonds)
        assert np.array_equal(cache.bond_types[bonds], graph.bond_features.argmax(1))
        assert np.array_equal(cache.hops[pairs], graph.hops.ravel())
        assert np.array_equal(cache.positions[atoms], record.positions)
        assert cache.name(m) == record.name
        assert cache.smiles_of(m) == Chem.MolToSmiles(Chem.RemoveHs(record.mol))


def test_prior_factor_squares_to_the_pseudo_inverse_of_the_laplacian(caches):
    cache, _ = caches
    n = int(cache.atom_counts[0])
    factor = np.asarray(cache.prior[: n * n], dtype=np.float64).reshape(n, n)
    laplacian = np.zeros((n, n))
    for i, j in cache.bonds[: cache.bond_ptr[1]]:
        laplacian[[i, j], [j, i]] -= 1
        laplacian[[i, j], [i, j]] += 1
    assert np.allclose(factor @ factor.T, np.linalg.pinv(laplacian), atol=1e-4)


def test_second_call_finds_the_cache_and_a_changed_input_builds_another(qm9, tmp_path):
    source = tmp_path / "data.npz"
    shutil.copy(qm9, source)
    first = preprocess(open_reader(source), root=tmp_path / "cache", workers=1)
    stamp = (first.folder / "meta.json").stat().st_mtime_ns
    again = preprocess(open_reader(source), root=tmp_path / "cache", workers=1)
    assert again.folder == first.folder and (again.folder / "meta.json").stat().st_mtime_ns == stamp
    os.utime(source, ns=(1, 1))
    assert cache_folder(open_reader(source), "drugs", tmp_path) != cache_folder(open_reader(qm9), "drugs", tmp_path)
    assert preprocess(open_reader(source), root=tmp_path / "cache", workers=1).folder != first.folder


def test_layouts_have_separate_caches(qm9, tmp_path):
    narrow = preprocess(open_reader(qm9), "qm9", tmp_path, workers=1)
    assert narrow.num_features == 64 and narrow.atom_features.shape[1] == 8


def test_worker_processes_give_the_same_arrays(caches, qm9, tmp_path):
    parallel = preprocess(open_reader(qm9), root=tmp_path, workers=2)
    for name in ("positions", "atom_features", "hops", "prior", "keys", "smiles"):
        assert np.array_equal(getattr(parallel, name), getattr(caches[0], name))


def test_dropped_entries_are_counted_by_reason_with_examples(cascade, tmp_path):
    text = cascade.read_text()
    path = tmp_path / "bad.sdf"
    pair = Chem.AddHs(Chem.MolFromSmiles("C.C"))
    pair.AddConformer(three_dimensional(pair))
    xenon = Chem.MolFromSmiles("[Xe]")
    xenon.AddConformer(three_dimensional(xenon))
    hypervalent = Chem.MolFromSmiles("FP(F)(F)(F)F")
    hypervalent.AddConformer(three_dimensional(hypervalent))
    collapsed = Chem.AddHs(Chem.MolFromSmiles("C"))
    collapsed.AddConformer(three_dimensional(collapsed, spacing=0.01))
    blocks = [Chem.MolToMolBlock(mol) for mol in (pair, xenon, hypervalent, collapsed, collapsed)]
    path.write_text(text + "".join(block + "$$$$\n" for block in blocks))
    cache = preprocess(open_reader(path), root=tmp_path / "cache", workers=1)
    dropped = {reason: record["count"] for reason, record in cache.meta["dropped"].items()}
    assert dropped == {
        "two atoms closer than 0.4 Å": 2,
        "more than one fragment": 1,
        "not expressible in the attribute layout": 1,
        "atom with more than 4 neighbours": 1,
    }
    assert cache.meta["kept"] == len(cache) == text.count("$$$$")
    assert json.loads((cache.folder / "meta.json").read_text())["dropped"] == cache.meta["dropped"]
    assert "2  two atoms closer" in report_table(cache)


def three_dimensional(mol, spacing=1.5):
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.Set3D(True)
    conformer.SetPositions(
        np.random.default_rng(0).normal(size=(mol.GetNumAtoms(), 3)) * 0.001
        + spacing * np.arange(mol.GetNumAtoms())[:, None]
    )
    return conformer


def test_an_interrupted_build_leaves_nothing_behind(qm9, tmp_path):
    def stop(blocks):
        yield next(iter(blocks))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preprocess(open_reader(qm9), root=tmp_path, workers=1, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_concurrent_builds_wins(qm9, tmp_path):
    def build_meanwhile(blocks):
        preprocess(open_reader(qm9), root=tmp_path, workers=1)
        yield from blocks

    cache = preprocess(open_reader(qm9), root=tmp_path, workers=1, progress=build_meanwhile)
    assert len(cache) == 24 and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_a_damaged_cache_is_one_sentence_with_the_folder(caches, tmp_path, damage):
    folder = tmp_path / "copy"
    shutil.copytree(caches[0].folder, folder)
    if damage == "truncate":
        (folder / "hops.npy").write_bytes((folder / "hops.npy").read_bytes()[:300])
    else:
        (folder / "prior.npy").unlink()
    with pytest.raises(ValueError, match="damaged.*delete it to build it again") as error:
        CachedMolecules(folder)
    assert str(folder) in str(error.value)
