"""From gradients of the displacements of pairs to gradients of positions."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ditkernels.triton.blocks import locate
from ditkernels.triton.configs import Config
from ditkernels.triton.launch import launch
from ditkernels.triton.schedule import Batch

ATOMS, OTHERS = 16, 32


def positions_gradient(d_delta: Tensor, batch: Batch) -> Tensor:
    """(T, 3) float32: the sum over pairs where an atom is sender less the sum where it is receiver. Two launches.

    d_delta: (parts, P, 3) float32, gradients of r_j - r_i for receiver i and sender j; parts are added. Rows of pairs
    outside a molecule are not read
    """
    tiles = batch.tiles(ATOMS)
    out = d_delta.new_empty(batch.num_tokens, 3)
    launch(
        positions_kernel,
        (tiles.capacity,),
        Config(0, 0, 0, warps=4, stages=1),
        d_delta=d_delta,
        out=out,
        **tiles.arguments,
        **batch.arguments,
        num_pairs=d_delta.shape[1],
        PARTS=d_delta.shape[0],
        ATOMS=ATOMS,
        OTHERS=OTHERS,
    )
    return out


@triton.jit(do_not_specialize=["pair_stride", "num_pairs"])
def positions_kernel(
    d_delta,
    out,
    tile_count,
    tile_molecule,
    tile_first,
    offsets,
    lengths,
    pair_offsets,
    pair_stride,
    num_pairs,
    PARTS: tl.constexpr,
    ATOMS: tl.constexpr,
    OTHERS: tl.constexpr,
):
    """The gradients of ATOMS atoms."""
    tile = tl.program_id(0)
    if tile >= tl.load(tile_count):
        return
    first, n, token, pair, stride = locate(tile, tile_molecule, tile_first, offsets, lengths, pair_offsets, pair_stride)
    i = first + tl.arange(0, ATOMS)
    for axis in tl.static_range(3):
        total = tl.zeros([ATOMS, OTHERS], tl.float32)
        for start in range(0, n, OTHERS):
            j = start + tl.arange(0, OTHERS)
            keep = (i < n)[:, None] & (j < n)[None, :]
            receiving = (pair + i[:, None] * stride + j[None, :]) * 3 + axis
            sending = (pair + j[None, :] * stride + i[:, None]) * 3 + axis
            for part in range(0, PARTS):
                source = (tl.zeros_like(sending) + num_pairs) * (3 * part)
                total += tl.load(d_delta + (source + sending), mask=keep, other=0.0)
                total -= tl.load(d_delta + (source + receiving), mask=keep, other=0.0)
        tl.store(out + (token + i) * 3 + axis, tl.sum(total, axis=1), mask=i < stride)
