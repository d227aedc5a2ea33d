"""The distinct molecules of a batch: what depends on the molecular graph alone is the same for all its conformers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ditkernels.models.molecule.graph import GraphBatch


@dataclass(frozen=True)
class Distinct:
    """The distinct molecules of a batch of T atoms and P pairs.

    graph: every molecule once, in the order of their first places; U atoms
    atoms: (T,) int32, the atom of ``graph`` that an atom of the batch is
    pairs: (P,) int64, the pair row of ``graph`` that a pair row of the batch is
    """

    graph: GraphBatch
    atoms: Tensor
    pairs: Tensor


def distinct(graph: GraphBatch) -> Distinct:
    """The distinct molecules of a batch; two are the same if all their arrays are, atom order included."""
    device, graph = graph.cu_seqlens.device, graph.to("cpu")
    starts = graph.cu_seqlens.tolist()
    sizes = [end - start for start, end in zip(starts, starts[1:])]
    pair_starts = _running([n * n for n in sizes])
    bonds = torch.bincount(graph.molecule[graph.bond_senders], minlength=len(sizes)).tolist()
    bond_starts = _running(bonds)

    places: dict[tuple, int] = {}
    first: list[int] = []  # of the batch's molecules, those that are new
    which: list[int] = []
    for m, n in enumerate(sizes):
        atoms, pairs = slice(starts[m], starts[m + 1]), slice(pair_starts[m], pair_starts[m] + n * n)
        own = slice(bond_starts[m], bond_starts[m] + bonds[m])
        arrays = (
            graph.atomic_numbers[atoms],
            graph.atom_features[atoms],
            graph.bond_senders[own] - starts[m],
            graph.bond_receivers[own] - starts[m],
            graph.bond_features[own],
            graph.hop_index[pairs],
        )
        key = tuple(array.numpy().tobytes() for array in arrays)
        if key not in places:
            places[key] = len(first)
            first.append(m)
        which.append(places[key])

    own_starts = _running([sizes[m] for m in first])
    own_pairs = _running([sizes[m] ** 2 for m in first])
    atoms = [torch.arange(sizes[m]) + own_starts[u] for m, u in enumerate(which)]
    pairs = [torch.arange(sizes[m] ** 2) + own_pairs[u] for m, u in enumerate(which)]
    return Distinct(
        _selected(graph, first, starts, pair_starts, bond_starts, bonds, own_starts).to(device),
        torch.cat(atoms).to(device, torch.int32),
        torch.cat(pairs).to(device),
    )


def _selected(graph, molecules, starts, pair_starts, bond_starts, bonds, own_starts) -> GraphBatch:
    sizes = torch.tensor([starts[m + 1] - starts[m] for m in molecules])
    atoms = torch.cat([torch.arange(starts[m], starts[m + 1]) for m in molecules])
    pairs = torch.cat([torch.arange(n * n) + pair_starts[m] for m, n in zip(molecules, sizes.tolist())])
    own = torch.cat([torch.arange(bonds[m]) + bond_starts[m] for m in molecules])
    moved = torch.tensor([own_starts[u] - starts[m] for u, m in enumerate(molecules)])
    moved = moved.repeat_interleave(torch.tensor([bonds[m] for m in molecules]))
    return GraphBatch(
        atomic_numbers=graph.atomic_numbers[atoms],
        atom_features=graph.atom_features[atoms],
        bond_senders=graph.bond_senders[own] + moved,
        bond_receivers=graph.bond_receivers[own] + moved,
        bond_features=graph.bond_features[own],
        hop_index=graph.hop_index[pairs],
        hop_values=graph.hop_values,
        cu_seqlens=torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]).int(),
        molecule=torch.arange(len(molecules)).repeat_interleave(sizes),
    )


def _running(counts: list[int]) -> list[int]:
    """The sum of all earlier counts, for every place."""
    sums = [0]
    for count in counts:
        sums.append(sums[-1] + count)
    return sums[:-1]
