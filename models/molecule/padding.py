"""Batches filled up to one of few sizes, for what is prepared for a size and used again.

Numbers of molecules, atoms and pairs all have to match, and every atom and pair must belong to a molecule: what is
missing are molecules of the right sizes, and empty ones.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ditkernels.models.molecule.graph import GraphBatch


def next_size(count: int) -> int:
    """The first of 16, 18, ..., 30, 32, 36, ..., 60, 64, 72, ... (eight from one power of two to the next) that is not
    below ``count``; all are even.
    """
    step = 1 << max(max(count - 1, 1).bit_length() - 4, 1)
    return max(-(-count // step) * step, 16)


def filler(atoms: int, pairs: int) -> list[int]:
    r"""Sizes n of molecules with :math:`\sum n` = atoms and :math:`\sum n^2` = pairs, the largest first.

    Raises ValueError where the largest possible molecules leave no solution.
    """
    sizes = []
    while atoms > 0 and pairs > atoms:
        # The largest molecule that leaves a pair for every other atom: n^2 - n <= pairs - atoms.
        n = min((1 + math.isqrt(1 + 4 * (pairs - atoms))) // 2, atoms)
        sizes.append(n)
        atoms, pairs = atoms - n, pairs - n * n
    if atoms != pairs:
        raise ValueError(f"no molecules have the {atoms} atoms and {pairs} pairs that are left")
    return sizes + [1] * atoms


def padded(graph: GraphBatch) -> GraphBatch:
    """``graph``, hydrogen atoms in molecules without bonds, and empty molecules, so that the numbers of molecules,
    atoms and pairs are sizes of :func:`next_size`. Pairs of the added atoms have the first hop count.
    """
    own = graph.cu_seqlens.diff().tolist()
    num_atoms, num_pairs = sum(own), sum(n * n for n in own)
    sizes = _missing(num_atoms, num_pairs)
    molecules = next_size(len(own) + len(sizes))
    sizes += [0] * (molecules - len(own) - len(sizes))
    added = torch.tensor(sizes, device=graph.cu_seqlens.device)
    atoms, pairs = num_atoms + sum(sizes), num_pairs + sum(n * n for n in sizes)
    return replace(
        graph,
        atomic_numbers=pad_rows(graph.atomic_numbers, atoms, 1),
        atom_features=pad_rows(graph.atom_features, atoms),
        hop_index=pad_rows(graph.hop_index, pairs),
        cu_seqlens=torch.cat((graph.cu_seqlens, num_atoms + added.cumsum(0).int())),
        molecule=torch.cat((graph.molecule, torch.arange(len(own), molecules).to(added).repeat_interleave(added))),
    )


def _missing(num_atoms: int, num_pairs: int) -> list[int]:
    """Sizes of molecules that complete the numbers of atoms and pairs. What is missing in both has the same parity, as
    the sums of n and of n^2 have.
    """
    atoms, pairs = next_size(num_atoms), next_size(num_pairs)
    while True:
        try:
            return filler(atoms - num_atoms, pairs - num_pairs)
        except ValueError:
            if pairs - num_pairs < atoms - num_atoms:
                pairs = next_size(pairs + 1)
            else:
                atoms = next_size(atoms + 1)


def pad_rows(tensor: Tensor, rows: int, value: float = 0) -> Tensor:
    """A tensor (n, ...) with rows of ``value`` after its own, ``rows`` in all."""
    return torch.cat((tensor, tensor.new_full((rows - len(tensor), *tensor.shape[1:]), value)))
