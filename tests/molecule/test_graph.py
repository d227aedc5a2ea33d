"""Ragged batches of molecules."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ditkernels.models.molecule.featurize import molecular_graph, parse_smiles
from ditkernels.models.molecule.graph import GraphBatch, MolecularGraph, collate, collate_arrays

SMILES = ("CCO", "[Na+]", "c1ccccc1C(=O)N", "[H][H]")


@pytest.fixture(scope="module")
def graphs():
    return [molecular_graph(parse_smiles(smiles)) for smiles in SMILES]


def test_atoms(graphs):
    batch = collate(graphs)
    sizes = [graph.num_atoms for graph in graphs]
    assert batch.num_molecules == len(SMILES)
    assert batch.num_atoms == sum(sizes)
    assert batch.cu_seqlens.tolist() == [0, *np.cumsum(sizes)]
    assert batch.molecule.tolist() == [b for b, n in enumerate(sizes) for _ in range(n)]
    assert batch.atomic_numbers.tolist() == [z for graph in graphs for z in graph.atomic_numbers]
    assert batch.atom_features.tolist() == [row for graph in graphs for row in graph.atom_features.tolist()]


def test_both_directions_of_every_bond(graphs):
    batch = collate(graphs)
    expected = {}
    for offset, graph in zip(batch.cu_seqlens.tolist(), graphs):
        for (i, j), features in zip(graph.bonds.tolist(), graph.bond_features.tolist()):
            expected[offset + i, offset + j] = expected[offset + j, offset + i] = features
    found = dict(zip(zip(batch.bond_senders.tolist(), batch.bond_receivers.tolist()), batch.bond_features.tolist()))
    assert found == expected
    assert len(batch.bond_senders) == len(expected)


def test_hop_rows_give_back_the_hop_matrices(graphs):
    batch = collate(graphs)
    hops = batch.hop_values[batch.hop_index.long()]
    assert hops.tolist() == [s for graph in graphs for s in graph.hops.reshape(-1)]
    assert batch.hop_values.tolist() == sorted(set(hops.tolist()))


def test_bond_index_is_the_dense_matrix_of_bonds(graphs):
    batch = collate([*graphs, graphs[0]])
    starts = batch.cu_seqlens.tolist()
    expected = []
    for start, end in zip(starts[:-1], starts[1:]):
        number = {}
        for e, (sender, receiver) in enumerate(zip(batch.bond_senders.tolist(), batch.bond_receivers.tolist())):
            number[receiver, sender] = 1 + e
        expected += [number.get((i, j), 0) for i in range(start, end) for j in range(start, end)]
    index = batch.bond_index()
    assert index.dtype == torch.int32
    assert index.tolist() == expected
    assert sum(expected) == sum(range(len(batch.bond_senders) + 1)) > 0


def test_bond_index_of_the_largest_molecules():
    batch = collate([molecular_graph(parse_smiles("C" * 59 + "N"))] * 3)
    index = batch.bond_index().view(3, 181, 181)
    assert (index > 0).equal(batch.hop_index.view(3, 181, 181) == 1)
    assert torch.unique(index).tolist() == list(range(3 * 360 + 1))


def test_bond_index_without_bonds():
    batch = collate([molecular_graph(parse_smiles("[Na+]"))] * 2)
    assert batch.bond_index().tolist() == [0, 0]


def test_pair_rows_beyond_32_bits():
    """Two molecules of 50,000 atoms: 2.5e9 pairs each. Nothing of that size is made."""
    size = 50_000
    batch = GraphBatch(
        atomic_numbers=torch.zeros(2 * size, dtype=torch.int64),
        atom_features=torch.zeros(2 * size, 0),
        bond_senders=torch.zeros(0, dtype=torch.int64),
        bond_receivers=torch.zeros(0, dtype=torch.int64),
        bond_features=torch.zeros(0, 4),
        hop_index=torch.zeros(0, dtype=torch.int32),
        hop_values=torch.zeros(0, dtype=torch.int64),
        cu_seqlens=torch.tensor([0, size, 2 * size], dtype=torch.int32),
        molecule=torch.arange(2).repeat_interleave(size),
    )
    receivers, senders = torch.tensor([0, size - 1, size, 2 * size - 1]), torch.tensor([1, 0, size + 2, 2 * size - 1])
    rows = [1, (size - 1) * size, size * size + 2, 2 * size * size - 1]
    assert batch.pair_rows(receivers, senders).tolist() == rows


def test_permuted_atoms(graphs):
    graph = graphs[2]
    order = np.random.default_rng(0).permutation(graph.num_atoms)
    other = graph.permuted(order)
    assert (other.bonds[:, 0] < other.bonds[:, 1]).all()
    assert (other.hops == graph.hops[np.ix_(order, order)]).all()
    assert (other.atomic_numbers == graph.atomic_numbers[order]).all()
    assert (other.atom_features == graph.atom_features[order]).all()
    features = {frozenset(order[bond].tolist()): row.tolist() for bond, row in zip(other.bonds, other.bond_features)}
    assert features == {frozenset(bond.tolist()): row.tolist() for bond, row in zip(graph.bonds, graph.bond_features)}
    back = other.permuted(np.argsort(order))
    assert (back.hops == graph.hops).all() and (back.bonds == graph.bonds).all()


def test_dtypes(graphs):
    batch = collate(graphs)
    assert {name: getattr(batch, name).dtype for name in batch.__dataclass_fields__} == {
        "atomic_numbers": torch.int64,
        "atom_features": torch.float32,
        "bond_senders": torch.int64,
        "bond_receivers": torch.int64,
        "bond_features": torch.float32,
        "hop_index": torch.int32,
        "hop_values": torch.int64,
        "cu_seqlens": torch.int32,
        "molecule": torch.int64,
    }


def test_conversion_touches_floating_features_only(graphs):
    batch = collate(graphs).to("cpu", torch.float64)
    assert batch.atom_features.dtype == batch.bond_features.dtype == torch.float64
    assert batch.hop_index.dtype == torch.int32


def test_repeated_molecule(graphs):
    batch = collate([graphs[0]] * 3)
    assert (batch.hop_index.view(3, -1) == batch.hop_index.view(3, -1)[0]).all()
    assert batch.num_atoms == 3 * graphs[0].num_atoms


def test_fragments():
    hops = np.array([[0, 1, 510], [1, 0, 510], [510, 510, 0]], dtype=np.int16)
    graph = MolecularGraph(
        np.array([6, 6, 8], np.int16),
        np.zeros((3, 94), np.uint8),
        np.array([[0, 1]], np.int32),
        np.array([[1, 0, 0, 0]], np.uint8),
        hops,
    )
    assert graph.num_fragments == 2
    assert collate([graph]).hop_values.tolist() == [0, 1, 510]


def test_errors(graphs):
    with pytest.raises(ValueError, match="at least one molecule"):
        collate([])
    with pytest.raises(ValueError, match=r"different attribute layouts, with widths \[64, 94\]"):
        collate([graphs[0], molecular_graph(parse_smiles("CCO"), "qm9")])
    with pytest.raises(ValueError, match="lengths"):
        collate_arrays(
            atom_counts=np.array([2]),
            bond_counts=np.array([0]),
            atomic_numbers=np.zeros(3, int),
            atom_features=np.zeros((3, 94)),
            bonds=np.zeros((0, 2), int),
            bond_features=np.zeros((0, 4)),
            hops=np.zeros(9, int),
        )
