"""Batches filled up to one of few sizes."""

import pytest
import torch

from ditkernels.models.molecule.padding import filler, next_size, padded
from tests.support.networks import batch_of


def test_sizes_grow_by_an_eighth_at_most():
    sizes = sorted({next_size(n) for n in range(5000)})
    assert sizes[:18] == [16, 18, 20, 22, 24, 26, 28, 30, 32, 36, 40, 44, 48, 52, 56, 60, 64, 72]
    assert all(b <= 1.125 * a and b % 2 == 0 for a, b in zip(sizes, sizes[1:]))
    assert all(n <= next_size(n) for n in range(5000)) and all(next_size(n) == n for n in sizes)


@pytest.mark.parametrize(("atoms", "pairs"), [(0, 0), (3, 3), (2, 4), (12, 80), (100, 100), (176, 10000), (60, 1000)])
def test_molecules_that_have_the_atoms_and_pairs(atoms, pairs):
    sizes = filler(atoms, pairs)
    assert sum(sizes) == atoms and sum(n * n for n in sizes) == pairs


@pytest.mark.parametrize(("atoms", "pairs"), [(3, 1), (0, 4), (3, 27), (1, 3)])
def test_no_molecules_have_them(atoms, pairs):
    with pytest.raises(ValueError, match="no molecules have"):
        filler(atoms, pairs)


@pytest.mark.parametrize(
    "smiles", [("[Na+]",), ("CCO",), ("CCO", "c1ccccc1", "[Na+]") * 7, ("C" * 58,), ("CCO",) * 100]
)
def test_a_padded_batch_begins_with_its_own_molecules(smiles):
    batch = batch_of(*smiles)
    found = padded(batch)
    sizes = found.cu_seqlens.diff().long()
    for count in (found.num_molecules, found.num_atoms, len(found.hop_index)):
        assert count == next_size(count)
    assert int(sizes.sum()) == found.num_atoms and int((sizes**2).sum()) == len(found.hop_index)
    assert torch.equal(found.molecule, torch.arange(found.num_molecules).repeat_interleave(sizes))
    assert torch.equal(found.cu_seqlens[: len(smiles) + 1], batch.cu_seqlens)
    for name in ("atomic_numbers", "atom_features", "molecule", "hop_index"):
        ours, theirs = getattr(found, name), getattr(batch, name)
        assert torch.equal(ours[: len(theirs)], theirs) and ours.dtype == theirs.dtype, name
    assert found.cu_seqlens.dtype == torch.int32 and len(found.atom_features) == found.num_atoms
    assert found.num_atoms <= 2 * max(batch.num_atoms, 16)
