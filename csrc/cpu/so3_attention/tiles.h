// Tiles of the basis form: blocks of receivers times blocks of senders, and the rows of radial weights of their pairs.
// Included by the kernel files only.
//
// Distances are the same both ways. An item that holds a whole molecule therefore visits two blocks of atoms once, as
// receivers and senders of each other, and the two directions of a pair share one row of radial weights if they have
// the same row of the scaling table. Blocks follow from the size of the molecule alone, and every receiver meets the
// blocks of its senders in ascending order, so that the bits of a result do not depend on how a batch is split into
// items.
#pragma once

#include "geometry.h"
#include "logits.h"
#include "values.h"

namespace {

constexpr int64_t kBlock = 16;                       // most atoms of a block
constexpr int64_t kTilePairs = 2 * kBlock * kBlock;  // most pairs, and most rows, of a tile

// A receiver of a tile: its senders there are the tile's pairs from `first` on, and the slots of its own list from
// `slot` on.
struct TileReceiver {
  int64_t number;  // in the item
  int64_t first, slot, count;
};

struct Tile {
  int64_t receivers, rows, pairs;
  TileReceiver* receiver;  // (2 kBlock)
  int32_t *sender, *row;   // (kTilePairs) of a pair
  int8_t* reversed;        // (kTilePairs) whether the pair runs against its row
  int32_t *from, *to;      // (kTilePairs) atoms of a row
  int32_t* table;          // (kTilePairs) table row of a row, if there is an index
  int64_t* slot;           // (rows of the item) first slot of the item's receivers that no tile has had yet
  int32_t* row_of;         // (kBlock, kBlock) row of a pair of atoms, -1 if it has none yet
};

inline void lay_out(Tile& tile, Carver& carver, const Item& item) {
  tile.receiver = carver.take<TileReceiver>(2 * kBlock);
  tile.sender = carver.take<int32_t>(kTilePairs);
  tile.row = carver.take<int32_t>(kTilePairs);
  tile.reversed = carver.take<int8_t>(kTilePairs);
  tile.from = carver.take<int32_t>(kTilePairs);
  tile.to = carver.take<int32_t>(kTilePairs);
  tile.table = carver.take<int32_t>(kTilePairs);
  tile.slot = carver.take<int64_t>(item.rows);
  tile.row_of = carver.take<int32_t>(kBlock * kBlock);
}

// Atoms [first, last).
struct AtomBlock {
  int64_t first, last;
};

inline int64_t num_blocks(int64_t atoms) { return (atoms + kBlock - 1) / kBlock; }

inline AtomBlock atom_block(int64_t atoms, int64_t b) {
  const int64_t blocks = num_blocks(atoms);
  return {atoms * b / blocks, atoms * (b + 1) / blocks};
}

// The pairs of receivers in x with senders in y. `mirrored`: x and y are blocks of one molecule in a symmetric tile,
// `swapped` if they are in the order of a receiver of the later block.
inline void add_pairs(Tile& tile, const Item& item, AtomBlock x, AtomBlock y, bool mirrored, bool swapped) {
  const bool same = x.first == y.first;
  for (int64_t atom = x.first; atom < x.last; ++atom) {
    const int64_t r = atom - item.first;
    const int32_t *sender = item.sender + r * item.stride, *table = item.table ? item.table + r * item.stride : nullptr;
    int64_t slot = tile.slot[r];
    TileReceiver& receiver = tile.receiver[tile.receivers];
    receiver = {r, tile.pairs, slot, 0};
    for (; slot < item.count[r] && sender[slot] < y.last; ++slot) {
      const int64_t other = sender[slot], i = atom - x.first, j = other - y.first;
      const bool turn = swapped || (same && i > j);
      int32_t* known = mirrored ? tile.row_of + (turn ? j * kBlock + i : i * kBlock + j) : nullptr;
      const int32_t row_of_table = table ? table[slot] : 0;
      int32_t row = known ? *known : -1;
      const bool shared = row >= 0 && tile.table[row] == row_of_table;
      if (!shared) {
        row = static_cast<int32_t>(tile.rows++);
        tile.from[row] = static_cast<int32_t>(atom);
        tile.to[row] = static_cast<int32_t>(other);
        tile.table[row] = row_of_table;
        if (known) *known = row;
      }
      tile.sender[tile.pairs] = static_cast<int32_t>(other);
      tile.row[tile.pairs] = row;
      tile.reversed[tile.pairs++] = shared;
    }
    receiver.count = slot - receiver.slot;
    tile.slot[r] = slot;
    if (receiver.count > 0) ++tile.receivers;
  }
}

// Calls f(tile) for the tiles of an item that are not empty.
template <class F>
void for_tiles(Tile& tile, const Item& item, const F& f) {
  for (int64_t r = 0; r < item.rows; ++r) tile.slot[r] = 0;
  const auto visit = [&](AtomBlock x, AtomBlock y, bool mirrored) {
    tile.receivers = tile.rows = tile.pairs = 0;
    for (int64_t i = 0; i < kBlock * kBlock; ++i) tile.row_of[i] = -1;
    add_pairs(tile, item, x, y, mirrored, false);
    if (mirrored && x.first != y.first) add_pairs(tile, item, y, x, true, true);
    if (tile.pairs > 0) f(tile);
  };
  const int64_t blocks = num_blocks(item.size);
  if (item.rows == item.size) {
    for (int64_t y = 0; y < blocks; ++y) {
      for (int64_t x = 0; x <= y; ++x) visit(atom_block(item.size, x), atom_block(item.size, y), true);
    }
    return;
  }
  for (int64_t x = 0; x < num_blocks(item.rows); ++x) {
    const AtomBlock part = atom_block(item.rows, x);
    for (int64_t y = 0; y < blocks; ++y)
      visit({item.first + part.first, item.first + part.last}, atom_block(item.size, y), false);
  }
}

}  // namespace
