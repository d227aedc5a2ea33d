// DensePair on the CPU: a_ij and b_ij are rows of tensors (pairs, C). Included by the kernel files only.
//
// Per receiver, tiles of its senders stream through rows.h. From memory each pair moves C elements per distinct tensor
// in the forward; the backward reads the same and writes as much. Half precision is widened per tile.
#pragma once

#include "../convert_rows.h"
#include "rows.h"

namespace {

template <class T>
struct DenseScratch {
  Packed<T> packed;
  T *rows_a, *rows_b;            // (kTile, C), if the storage type needs conversion
  T *grad_rows_a, *grad_rows_b;  // (kTile, C), likewise
  T *logit, *grad_logit;         // (kTile)
  T *max, *sum, *out;            // (H), (H), (C)
  T* delta;                      // (H)
};

template <class T>
int64_t lay_out(DenseScratch<T>& s, char* base, const Problem& problem, const Item& item, const DenseRows& rows,
                bool backward) {
  Carver carver(base);
  const int64_t C = problem.channels, H = problem.heads, whole = item.size * C;
  s = {};
  s.packed = {H, problem.dim, item.size, carver.take<T>(whole), carver.take<T>(whole), nullptr, nullptr};
  s.logit = carver.take<T>(kTile);
  if (rows.type != own_type<T>()) {
    s.rows_a = carver.take<T>(kTile * C);
    s.rows_b = rows.b == rows.a ? s.rows_a : carver.take<T>(kTile * C);
  }
  if (backward) {
    s.packed.grad_key = carver.take<T>(whole);
    s.packed.grad_value = carver.take<T>(whole);
    s.grad_logit = carver.take<T>(kTile);
    s.delta = carver.take<T>(H);
    if (rows.type != own_type<T>()) {
      if (rows.grad_a) s.grad_rows_a = carver.take<T>(kTile * C);
      s.grad_rows_b = rows.grad_b == rows.grad_a ? s.grad_rows_a : rows.grad_b ? carver.take<T>(kTile * C) : nullptr;
    }
  } else {
    s.max = carver.take<T>(H);
    s.sum = carver.take<T>(H);
    s.out = carver.take<T>(C);
  }
  return carver.used();
}

// Row pointers of a tile: into the tensor itself, or to widened copies. Receives the pair row of sender 0.
template <class T>
void tile_rows(const void* tensor, Type type, int64_t pair, int64_t channels, const Tile<T>& tile, T* copies,
               const T** rows) {
  for (int64_t e = 0; e < tile.padded; ++e) {
    if (!copies) {
      rows[e] = static_cast<const T*>(tensor) + (pair + tile.sender[e]) * channels;
    } else {
      if (e < tile.count) read_row(copies + e * channels, tensor, type, pair + tile.sender[e], channels);
      rows[e] = copies + (e < tile.count ? e : tile.count - 1) * channels;
    }
  }
}

// The rows of the tile after the one that begins at slot `begin` of receiver r.
inline Ahead next_tile(const Item& item, const DenseRows& rows, int64_t r, int64_t begin, int64_t channels) {
  begin += kTile;
  if (begin >= item.count[r]) {
    begin = 0;
    if (++r == item.rows || item.count[r] == 0) return {};
  }
  const int64_t end = begin + kTile < item.count[r] ? begin + kTile : item.count[r];
  const int32_t* sender = item.sender + r * item.stride;
  const int64_t row = channels * (rows.type == Type::Double ? 8 : rows.type == Type::Float ? 4 : 2);
  const int64_t at = (item.pair_row + r * item.pair_step + sender[begin]) * row;
  return {static_cast<const char*>(rows.a) + at, rows.b == rows.a ? nullptr : static_cast<const char*>(rows.b) + at,
          (sender[end - 1] - sender[begin] + 1) * row};
}

// The tile at slot `begin` of receiver r; a and b hold kTile pointers each.
template <class T>
Tile<T> dense_tile(const DenseScratch<T>& s, const Problem& problem, const Item& item, const ItemBias& bias,
                   const DenseRows& rows, int64_t r, int64_t begin, const T** a, const T** b) {
  const int64_t C = problem.channels, bias_at = r * problem.heads * item.stride + begin;
  const int64_t pair = item.pair_row + r * item.pair_step;
  Tile<T> tile{};
  tile.count = item.count[r] - begin < kTile ? item.count[r] - begin : kTile;
  tile.padded = (tile.count + kSlotPadding - 1) / kSlotPadding * kSlotPadding;
  tile.sender = item.sender + r * item.stride + begin;
  tile.bias = bias.bias ? static_cast<const T*>(bias.bias) + bias_at : nullptr;
  tile.grad_bias = bias.grad ? static_cast<T*>(bias.grad) + bias_at : nullptr;
  tile.bias_stride = item.stride;
  tile.ahead = next_tile(item, rows, r, begin, C);
  tile.a = a;
  tile.b = rows.b == rows.a ? a : b;
  tile_rows(rows.a, rows.type, pair, C, tile, s.rows_a, a);
  if (rows.b != rows.a) tile_rows(rows.b, rows.type, pair, C, tile, s.rows_b, b);
  return tile;
}

template <class T, int W, int NV>
void dense_forward_item(const DenseScratch<T>& s, const Problem& problem, const Item& item, const ItemBias& bias,
                        const DenseRows& rows) {
  const int64_t C = problem.channels, H = problem.heads;
  pack_molecule<T, W, NV>(problem, item, s.packed);
  const T *a[kTile], *b[kTile];
  const Running<T> run{s.max, s.sum, s.out};
  for (int64_t r = 0; r < item.rows; ++r) {
    const int64_t token = item.token + item.first + r;
    const T* query = static_cast<const T*>(problem.query) + token * C;
    start(run, H, C);
    for (int64_t begin = 0; begin < item.count[r]; begin += kTile) {
      const Tile<T> tile = dense_tile(s, problem, item, bias, rows, r, begin, a, b);
      attend_tile<T, W, NV>(s.packed, tile, static_cast<T>(problem.scale), query, run, s.logit);
    }
    finish(run, H, problem.dim, static_cast<T*>(problem.out) + token * C, static_cast<T*>(problem.lse) + token * H);
  }
}

// Pairs that no slot stands for get gradient 0.
template <class T>
void zero_unused(const Item& item, int64_t r, Type type, int64_t channels, void* grad) {
  if (!grad || item.count[r] == item.size) return;
  const int64_t pair = item.pair_row + r * item.pair_step;
  const int32_t* sender = item.sender + r * item.stride;
  int64_t e = 0;
  for (int64_t j = 0; j < item.size; ++j) {
    if (e < item.count[r] && sender[e] == j) {
      ++e;
    } else {
      zero_row(grad, type, pair + j, channels);
    }
  }
}

template <class T, int W, int NV>
void dense_backward_item(const DenseScratch<T>& s, const Problem& problem, const Item& item, const ItemBias& bias,
                         const DenseRows& rows, const ItemGrad& grad) {
  const int64_t C = problem.channels, H = problem.heads;
  start_backward<T, W, NV>(s.packed, problem, item, grad);
  const T *a[kTile], *b[kTile];
  T *grad_a[kTile], *grad_b[kTile];
  for (int64_t r = 0; r < item.rows; ++r) {
    const int64_t token = item.token + item.first + r, pair = item.pair_row + r * item.pair_step;
    const Receiver<T> receiver = receiver_of<T>(problem, token, s.delta);
    row_delta(H, problem.dim, static_cast<const T*>(problem.out) + token * C, receiver.grad_out, s.delta);
    zero_unused<T>(item, r, rows.type, C, rows.grad_a);
    if (rows.grad_b != rows.grad_a) zero_unused<T>(item, r, rows.type, C, rows.grad_b);
    for (int64_t begin = 0; begin < item.count[r]; begin += kTile) {
      Tile<T> tile = dense_tile(s, problem, item, bias, rows, r, begin, a, b);
      for (int64_t e = 0; e < tile.count; ++e) {
        const int64_t row = (pair + tile.sender[e]) * C;
        if (rows.grad_a) grad_a[e] = s.grad_rows_a ? s.grad_rows_a + e * C : static_cast<T*>(rows.grad_a) + row;
        if (rows.grad_b) grad_b[e] = s.grad_rows_b ? s.grad_rows_b + e * C : static_cast<T*>(rows.grad_b) + row;
      }
      tile.grad_a = rows.grad_a ? grad_a : nullptr;
      tile.grad_b = !rows.grad_b ? nullptr : rows.grad_b == rows.grad_a ? grad_a : grad_b;
      attend_tile_backward<T, W, NV>(s.packed, tile, static_cast<T>(problem.scale), receiver, s.logit, s.grad_logit);
      for (int64_t e = 0; e < tile.count; ++e) {
        if (s.grad_rows_a) write_row(rows.grad_a, rows.type, pair + tile.sender[e], C, grad_a[e]);
        if (s.grad_rows_b && rows.grad_b != rows.grad_a)
          write_row(rows.grad_b, rows.type, pair + tile.sender[e], C, grad_b[e]);
      }
    }
  }
  finish_backward<T, W, NV>(s.packed, problem, item, grad);
}

}  // namespace
