"""Tiles of atoms: how the work of a ragged batch is cut and ordered, on the device, without waiting for it.

A tile is a block of consecutive atoms of one molecule. Programs take tiles in order of falling molecule size, so that
the longest work starts first and the short work fills the gaps at the end (longest processing time first: the last
program to finish is late by at most one tile). A molecule of n atoms has ceil(n / block) tiles: a ragged batch does not
pay for the size of its largest molecule. One launch of ceil(B / 32) programs makes them; each compares its molecules
with all others, B^2 comparisons of integers in all, and writes their tiles at the counted place: no sort, no atomics.

Programs are not persistent: in practice the GPU hands them out in their order, the queue that a persistent grid would
have to make with atomics. Persistent are the sums over all pairs: a fixed number of programs takes every so many blocks
of pairs, which all have the same work.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ditkernels.triton.configs import Config, architecture, power_of_two
from ditkernels.triton.launch import launch

MOLECULES, OTHERS = 32, 64  # of one program, and of one step of their comparison with all


@dataclass(frozen=True)
class Tiles:
    """The tiles of a batch, in the order in which programs take them.

    block: atoms of a tile
    capacity: upper bound of the number of tiles, known without the device
    count: (1,) int32, the number of tiles; the rest of the other tensors is not written
    molecule, first: (capacity,) int32, molecule of each tile, and its first atom in it
    row: (capacity,) int64, the sum of the molecule sizes of all earlier tiles: where a tile keeps one row per atom of
        its molecule
    """

    block: int
    capacity: int
    count: Tensor
    molecule: Tensor
    first: Tensor
    row: Tensor

    @property
    def arguments(self) -> dict[str, Tensor]:
        return {"tile_count": self.count, "tile_molecule": self.molecule, "tile_first": self.first}


@dataclass(frozen=True)
class Batch:
    """The layout of :mod:`ditkernels.layout` as kernels take it.

    num_tokens: T
    """

    offsets: Tensor
    lengths: Tensor
    pair_offsets: Tensor
    pair_stride: int
    num_tokens: int

    @property
    def size(self) -> int:
        """B, the number of molecules."""
        return self.offsets.shape[0]

    @property
    def atoms(self) -> int:
        """Mean number of atoms of a molecule, padding included, rounded up to a power of two."""
        return power_of_two(-(-self.num_tokens // max(self.size, 1)))

    @property
    def architecture(self) -> str:
        return architecture(self.offsets.device)

    @property
    def arguments(self) -> dict[str, Tensor | int]:
        return {
            "offsets": self.offsets,
            "lengths": self.lengths,
            "pair_offsets": self.pair_offsets,
            "pair_stride": self.pair_stride,
        }

    def pairs(self, *tensors: Tensor | None) -> int:
        """P: the rows of the first of some pair tensors that is there.

        Without one, a padded batch knows it, too; only a ragged batch must be asked, and the host waits for the device.
        Raises RuntimeError where a CUDA graph is captured, which cannot wait.
        """
        rows = next((x.shape[0] for x in tensors if x is not None), None)
        if rows is None and self.pair_stride > 0:
            rows = self.size * self.pair_stride**2
        if rows is None:
            if self.offsets.is_cuda and torch.cuda.is_current_stream_capturing():
                raise RuntimeError(
                    "a CUDA graph cannot be captured for a ragged batch without any pair tensor, because the number of "
                    "pairs is only on the device; pass mask or index, or use a padded batch"
                )
            rows = int(self.lengths.long().square().sum())
        return rows

    def tiles(self, block: int) -> Tiles:
        """Tiles of `block` atoms, a power of two. One launch.

        In a padded batch they cover the padding, whose results are written, too (as zeros).
        """
        per_molecule = -(-self.pair_stride // block) if self.pair_stride > 0 else 1
        capacity = self.size * per_molecule + (0 if self.pair_stride > 0 else self.num_tokens // block)
        number = self.offsets.new_empty
        tiles = Tiles(
            block,
            capacity,
            number(1, dtype=torch.int32) if self.size else self.offsets.new_zeros(1, dtype=torch.int32),
            number(capacity, dtype=torch.int32),
            number(capacity, dtype=torch.int32),
            number(capacity, dtype=torch.int64),
        )
        launch(
            schedule_kernel,
            (-(-self.size // MOLECULES),),
            Config(0, 0, 0, warps=4, stages=1),
            lengths=self.lengths,
            tile_count=tiles.count,
            tile_molecule=tiles.molecule,
            tile_first=tiles.first,
            tile_row=tiles.row,
            batch=self.size,
            pair_stride=self.pair_stride,
            ATOMS=block,
            MOLECULES=MOLECULES,
            OTHERS=OTHERS,
        )
        return tiles


@triton.jit(do_not_specialize=["batch", "pair_stride"])
def schedule_kernel(
    lengths,
    tile_count,
    tile_molecule,
    tile_first,
    tile_row,
    batch,
    pair_stride,
    ATOMS: tl.constexpr,
    MOLECULES: tl.constexpr,
    OTHERS: tl.constexpr,
):
    """Tiles of MOLECULES molecules per program, see :class:`Tiles`."""
    own = tl.program_id(0) * MOLECULES + tl.arange(0, MOLECULES)
    n = tl.load(lengths + own, mask=own < batch, other=0)
    tiles = tl.where(own < batch, tl.cdiv(tl.where(pair_stride > 0, pair_stride, n), ATOMS), 0)
    total = 0
    place = tl.zeros([MOLECULES], tl.int32)
    row = tl.zeros([MOLECULES], tl.int64)
    for start in range(0, batch, OTHERS):
        other = start + tl.arange(0, OTHERS)
        there = other < batch
        m = tl.load(lengths + other, mask=there, other=0)
        other_tiles = tl.where(there, tl.cdiv(tl.where(pair_stride > 0, pair_stride, m), ATOMS), 0)
        before = (m[None, :] > n[:, None]) | ((m[None, :] == n[:, None]) & (other[None, :] < own[:, None]))
        place += tl.sum(tl.where(before, other_tiles[None, :], 0), 1)
        row += tl.sum(tl.where(before, (other_tiles.to(tl.int64) * m)[None, :], 0), 1)
        total += tl.sum(other_tiles, 0)
    if tl.program_id(0) == 0:
        tl.store(tile_count, total)
    for t in range(0, tl.max(tiles, 0)):
        there = t < tiles
        tl.store(tile_molecule + place + t, own, mask=there)
        tl.store(tile_first + place + t, tl.zeros([MOLECULES], tl.int32) + t * ATOMS, mask=there)
        tl.store(tile_row + place + t, row + t * n.to(tl.int64), mask=there)
