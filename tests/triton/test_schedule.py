"""The schedule that programs follow: every atom in one tile, longest molecules first."""

from __future__ import annotations

import pytest
import torch

from ditkernels.layout import Layout
from ditkernels.triton.launch import recorded
from ditkernels.triton.schedule import Batch


def ragged(sizes: list[int]) -> Batch:
    bounds = torch.tensor([0, *sizes]).cumsum(0)
    layout = Layout.ragged(bounds, int(bounds[-1]))
    return Batch(layout.offsets, layout.lengths, layout.pair_offsets, 0, layout.num_tokens)


def padded(sizes: list[int], size: int) -> Batch:
    layout = Layout.padded(len(sizes), size, torch.tensor(sizes), torch.get_default_device())
    return Batch(layout.offsets, layout.lengths, layout.pair_offsets, size, layout.num_tokens)


def listed(batch: Batch, block: int) -> list[tuple[int, int, int]]:
    """(molecule, first atom, row) of every tile."""
    tiles = batch.tiles(block)
    count = int(tiles.count)
    assert count <= tiles.capacity
    return list(zip(*(x[:count].tolist() for x in (tiles.molecule, tiles.first, tiles.row))))


@pytest.mark.parametrize("block", [1, 16, 64])
@pytest.mark.parametrize("sizes", [[5, 0, 17, 33, 1, 17], [1], [0, 0], [181] * 3, list(range(100)), [7] * 200], ids=str)
def test_every_atom_is_in_one_tile_and_large_molecules_come_first(sizes, block):
    tiles = listed(ragged(sizes), block)
    assert sorted((m, first) for m, first, _ in tiles) == [
        (m, first) for m, n in enumerate(sizes) for first in range(0, n, block)
    ]
    lengths = [sizes[m] for m, _, _ in tiles]
    assert lengths == sorted(lengths, reverse=True)


def test_rows_of_tiles_do_not_overlap():
    sizes = [5, 40, 17, 40, 1]
    row = 0
    for molecule, _, start in listed(ragged(sizes), 16):
        assert start == row
        row += sizes[molecule]


def test_tiles_of_a_padded_batch_cover_the_padding():
    tiles = listed(padded([20, 0, 7], 20), 16)
    assert [(m, first) for m, first, _ in tiles] == [(0, 0), (0, 16), (2, 0), (2, 16), (1, 0), (1, 16)]


def test_no_molecules():
    batch = ragged([])
    tiles = batch.tiles(16)
    assert tiles.capacity == 0 and int(tiles.count) == 0


def test_number_of_pairs_is_known_without_the_device_where_a_tensor_or_the_padding_says_it():
    meta = torch.empty(3, dtype=torch.int64, device="meta")
    batch = Batch(meta, meta.int(), meta, 0, 60)
    assert batch.pairs(None, torch.empty(1234, 5, device="meta")) == 1234
    assert Batch(meta, meta.int(), meta, 20, 60).pairs(None) == 1200
    assert ragged([3, 4]).pairs(None) == 25


def test_huge_batches_have_64_bit_places():
    """B = 64, N = 256: a pair tensor of C = 512 channels has 2^31 elements."""
    sizes = torch.full((64,), 256)
    layout = Layout.ragged(torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]), 64 * 256)
    assert layout.pair_offsets.dtype == layout.offsets.dtype == torch.int64
    assert int(layout.pair_offsets[-1]) * 512 > 2**30
    with recorded("sm_90") as launches:
        tiles = Batch(layout.offsets, layout.lengths, layout.pair_offsets, 0, layout.num_tokens).tiles(64)
    assert tiles.row.dtype == torch.int64 and tiles.capacity == 64 * 4 + 64
    assert [launch.kernel.__name__ for launch in launches] == ["schedule_kernel"]
