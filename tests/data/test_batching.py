"""Batches keep their budgets, show every molecule as often as its weight says, and can be continued anywhere."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from ditkernels.models.data.batching import BatchBudget, BatchStream, all_batches, pack
from ditkernels.models.data.dataset import MoleculeDataset, Source
from ditkernels.models.molecule.featurize import molecular_graph, parse_smiles
from ditkernels.models.molecule.graph import GraphBatch
from ditkernels.models.molecule.graph import collate as collate_graphs


def dataset_of(caches, weights=(1.0, 1.0)):
    return MoleculeDataset([Source(f"s{i}", c, w, 0.1, 0.1) for i, (c, w) in enumerate(zip(caches, weights))])


@pytest.mark.parametrize(
    "budget", [BatchBudget(7, 10_000, 10**7), BatchBudget(100, 150, 10**7), BatchBudget(100, 10_000, 4000)]
)
def test_batches_keep_the_budget_and_the_order(budget):
    counts = np.random.default_rng(0).integers(3, 40, 500)
    order = np.random.default_rng(1).permutation(500)
    batches = pack(order, counts, budget)
    assert np.array_equal(np.concatenate(batches), order)
    for batch in batches:
        n = counts[batch]
        assert len(n) <= budget.molecules and n.sum() <= budget.atoms and (n**2).sum() <= budget.pairs
    for batch, following in zip(batches, batches[1:]):  # no batch could have taken one more
        n = counts[[*batch, following[0]]]
        assert len(n) > budget.molecules or n.sum() > budget.atoms or (n**2).sum() > budget.pairs


def test_an_epoch_shows_every_molecule_as_often_as_the_weight_says(caches):
    dataset = dataset_of(caches, (1.0, 2.5))
    stream = BatchStream(dataset, BatchBudget(5, 300, 10_000), seed=3)
    shown = np.bincount(stream.epoch_order(0), minlength=len(dataset))
    assert (shown[dataset.entries("train", 0)] == 1).all()
    often = shown[dataset.entries("train", 1)]
    assert set(often) == {2, 3} and often.sum() == round(2.5 * len(often))
    for split in ("validation", "test"):
        assert not shown[dataset.entries(split)].any()


def test_the_order_depends_on_seed_and_epoch_only(caches):
    dataset = dataset_of(caches)
    one, two, other = (BatchStream(dataset, BatchBudget(), seed) for seed in (0, 0, 1))
    assert np.array_equal(one.epoch_order(4), two.epoch_order(4))
    assert not np.array_equal(one.epoch_order(4), one.epoch_order(5))
    assert not np.array_equal(one.epoch_order(4), other.epoch_order(4))


def test_the_stream_continues_from_any_place(caches):
    stream = BatchStream(dataset_of(caches), BatchBudget(3, 300, 10_000), 0)
    run = list(islice(stream.iterate(0, 0), 25))
    assert run[-1][0] >= 2  # several epochs
    for start in (1, 7, 12):
        epoch, position, _ = run[start]
        again = list(islice(stream.iterate(epoch, position), 25 - start))
        assert all(np.array_equal(a[2], b[2]) and a[:2] == b[:2] for a, b in zip(run[start:], again))


def test_too_large_molecules_are_counted_and_left_out(caches):
    dataset = dataset_of(caches)
    stream = BatchStream(dataset, BatchBudget(10, 17, 10_000), 0)
    train = dataset.entries("train")
    assert stream.left_out == (dataset.atom_counts[train] > 17).sum() > 0
    with pytest.raises(ValueError, match="no training molecules"):
        BatchStream(dataset, BatchBudget(10, 2, 10), 0)
    assert all((dataset.atom_counts[b] <= 17).all() for b in all_batches(train, dataset, BatchBudget(10, 17, 10_000)))


def test_collate_equals_the_collate_of_single_graphs(caches):
    dataset = dataset_of(caches)
    entries = [1, 25, 0, 30]
    batch = dataset.collate(entries)
    # Stereo marks of the SMILES are those of the geometry; its atom order is canonical, so compare what has no order.
    graphs = []
    for entry in entries:
        cache, m = dataset.locate(entry)
        graphs.append(molecular_graph(parse_smiles(cache.smiles_of(m)), "drugs"))
    expected = collate_graphs(graphs)
    assert torch.equal(batch.graph.cu_seqlens, expected.cu_seqlens)
    assert torch.equal(batch.graph.hop_values, expected.hop_values)
    for a, b in zip(split(batch.graph), split(expected)):
        assert a == b


def split(graph: GraphBatch):
    """Order-free content of each molecule: sorted elements, summed hop counts, summed attributes without chirality."""
    for start, stop in zip(graph.cu_seqlens[:-1], graph.cu_seqlens[1:]):
        features = graph.atom_features[start:stop, 5:].sum(0).tolist()
        yield sorted(graph.atomic_numbers[start:stop].tolist()), features


def test_positions_and_factors_belong_to_the_entries(caches):
    dataset = dataset_of(caches)
    batch = dataset.collate([2, 26])
    starts = batch.graph.cu_seqlens.tolist()
    for index, entry in enumerate((2, 26)):
        cache, m = dataset.locate(entry)
        rows = slice(cache.atom_ptr[m], cache.atom_ptr[m + 1])
        assert np.array_equal(batch.positions[starts[index] : starts[index + 1]].numpy(), cache.positions[rows])
        n = int(dataset.atom_counts[entry])
        pairs = slice(cache.pair_ptr[m], cache.pair_ptr[m + 1])
        assert np.array_equal(batch.factors[index], cache.prior[pairs].reshape(n, n))


def test_a_budget_below_one_is_refused():
    with pytest.raises(ValueError, match="atoms must be at least 1"):
        BatchBudget(atoms=0)
