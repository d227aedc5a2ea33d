// ProjectedPair and DisplacementPair on the CPU: a_ij = x_ij W_a (+ table row), b_ij = x_ij W_b (+ table row), where
// the pair features x_ij are rows of a tensor or silu((r_j - r_i) V1). Included by the kernel files only.
//
// Pairs are taken in blocks of up to kBlock allowed pairs of consecutive receivers: features, then a and b by gemm.h,
// then attention by rows.h, all in the second-level cache. The backward recomputes them and goes back the same way:
//   dW_a += x^T da,   dx = da W_a^T + db W_b^T,   dz = dx silu'(z),   dV1 += delta^T dz,   d delta = dz V1^T (z = delta
//   V1).
// Nothing of size (pairs, C) exists.
#pragma once

#include "dense.h"
#include "../gemm.h"

namespace {

constexpr int64_t kBlock = 64;

template <class T>
struct ProjectedScratch {
  Packed<T> packed;
  T* features;                 // (kBlock, F)
  T *a, *b;                    // (kBlock, C); equal when b is a
  T* slope;                    // (kBlock, F): silu'(z)
  T *grad_a, *grad_b;          // (kBlock, C)
  T* grad_features;            // (kBlock, F)
  T* packed_grad;              // (kBlock, C) packed as a right factor
  T* packed_features;          // (kBlock, F) packed as a transposed left factor
  T* displacement;             // (kBlock, 3)
  T *logit, *grad_logit;       // (kTile)
  T *max, *sum, *out, *delta;  // (H), (H), (C), (H)
};

template <class T>
int64_t lay_out(ProjectedScratch<T>& s, char* base, const Problem& problem, const Item& item, const Projection& p,
                const ItemTable& table, bool backward) {
  Carver carver(base);
  const bool one = p.packed_b == p.packed_a && table.table_b == table.table_a;
  const int64_t C = problem.channels, H = problem.heads, F = p.features, whole = item.size * C;
  s = {};
  s.packed = {H, problem.dim, item.size, carver.take<T>(whole), carver.take<T>(whole), nullptr, nullptr};
  s.features = carver.take<T>(kBlock * F);
  s.a = carver.take<T>(kBlock * C);
  s.b = one ? s.a : carver.take<T>(kBlock * C);
  s.displacement = carver.take<T>(kBlock * 3);
  s.logit = carver.take<T>(kTile);
  if (backward) {
    s.packed.grad_key = carver.take<T>(whole);
    s.packed.grad_value = carver.take<T>(whole);
    s.slope = carver.take<T>(kBlock * F);
    s.grad_a = carver.take<T>(kBlock * C);
    s.grad_b = one ? s.grad_a : carver.take<T>(kBlock * C);
    s.grad_features = carver.take<T>(kBlock * F);
    s.packed_grad = carver.take<T>(packed_size<T>(kBlock, C));
    s.packed_features = carver.take<T>(packed_transpose_size<T>(kBlock, F));
    s.grad_logit = carver.take<T>(kTile);
    s.delta = carver.take<T>(H);
  } else {
    s.max = carver.take<T>(H);
    s.sum = carver.take<T>(H);
    s.out = carver.take<T>(C);
  }
  return carver.used();
}

// Allowed pairs in receiver order, block after block: rows [0, count) of the block's matrices.
struct BlockRow {
  int32_t receiver, slot;
};

// silu and its derivative from z: sigma(z) by exp(-|z|), which never overflows.
template <class T, int W>
DITKERNELS_INLINE Vec<T, W> sigmoid(Vec<T, W> z) {
  const Vec<T, W> t = exp_nonpositive<W>(z < 0 ? z : -z);
  return (z < 0 ? t : splat<T, W>(1)) / (t + 1);
}

// features = silu(z), slope = silu'(z) if wanted, for the displacement d of one pair.
template <class T, int W>
DITKERNELS_INLINE void hidden_channels(int64_t f, int64_t F, const T* d, const T* v1, T* features, T* slope) {
  const Vec<T, W> z = load<T, W>(v1 + f) * d[0] + load<T, W>(v1 + F + f) * d[1] + load<T, W>(v1 + 2 * F + f) * d[2];
  const Vec<T, W> sigma = sigmoid<T, W>(z), h = z * sigma;
  store<T, W>(features + f, h);
  if (slope) store<T, W>(slope + f, sigma + h * (1 - sigma));
}

template <class T>
void hidden_row(int64_t F, const T* d, const T* v1, T* features, T* slope) {
  constexpr int W = kRegisterBytes / sizeof(T);
  int64_t f = 0;
  for (; f + W <= F; f += W) hidden_channels<T, W>(f, F, d, v1, features, slope);
  for (; f < F; ++f) hidden_channels<T, 1>(f, F, d, v1, features, slope);
}

// Fills features, a and b (and slope) of a block.
template <class T>
void project_block(const ProjectedScratch<T>& s, const Problem& problem, const Item& item, const Projection& p,
                   const ItemTable& table, const BlockRow* rows, int64_t count) {
  const int64_t C = problem.channels, F = p.features;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t r = rows[i].receiver, slot = r * item.stride + rows[i].slot, j = item.sender[slot];
    T* features = s.features + i * F;
    if (p.positions) {
      const T* positions = static_cast<const T*>(p.positions) + item.token * 3;
      T* d = s.displacement + i * 3;
      for (int x = 0; x < 3; ++x) d[x] = positions[j * 3 + x] - positions[(item.first + r) * 3 + x];
      hidden_row<T>(F, d, static_cast<const T*>(p.v1), features, s.slope ? s.slope + i * F : nullptr);
    } else {
      read_row(features, p.e, p.type, item.pair_row + r * item.pair_step + j, F);
    }
    if (table.table_a) {
      const int64_t row = table.row[item.run_table[r * item.stride + item.run[slot]]] * C;
      copy_row(s.a + i * C, static_cast<const T*>(table.table_a) + row, C);
      if (s.b != s.a) copy_row(s.b + i * C, static_cast<const T*>(table.table_b) + row, C);
    } else {
      zero(s.a + i * C, C);
      if (s.b != s.a) zero(s.b + i * C, C);
    }
  }
  gemm<T>(count, C, F, s.features, static_cast<const T*>(p.packed_a), s.a);
  if (s.b != s.a) gemm<T>(count, C, F, s.features, static_cast<const T*>(p.packed_b), s.b);
}

// Calls visit(rows, count) for consecutive blocks of allowed pairs. A cut inside a receiver falls on a multiple of the
// slot padding, as tiles need.
template <class F>
void for_blocks(const Item& item, F&& visit) {
  BlockRow rows[kBlock];
  int64_t count = 0;
  for (int64_t r = 0; r < item.rows; ++r) {
    for (int64_t e = 0; e < item.count[r]; e += kSlotPadding) {
      const int64_t left = item.count[r] - e, add = left < kSlotPadding ? left : kSlotPadding;
      if (count + add > kBlock) {
        visit(rows, count);
        count = 0;
      }
      for (int64_t i = 0; i < add; ++i) rows[count++] = {static_cast<int32_t>(r), static_cast<int32_t>(e + i)};
    }
  }
  if (count) visit(rows, count);
}

// Calls visit(tile, r, i) for the tiles of a block: slots of receiver r, rows [i, i + tile.count) of the block's
// matrices.
template <class T, class F>
void for_tiles(const ProjectedScratch<T>& s, const Problem& problem, const Item& item, const ItemBias& bias,
               const BlockRow* rows, int64_t count, F&& visit) {
  const int64_t C = problem.channels, H = problem.heads;
  const T *a[kTile], *b[kTile];
  for (int64_t i = 0; i < count;) {
    const int64_t r = rows[i].receiver, begin = rows[i].slot;
    Tile<T> tile{};
    while (i + tile.count < count && tile.count < kTile && rows[i + tile.count].receiver == r) ++tile.count;
    tile.padded = (tile.count + kSlotPadding - 1) / kSlotPadding * kSlotPadding;
    for (int64_t e = 0; e < tile.padded; ++e) {
      const int64_t row = i + (e < tile.count ? e : tile.count - 1);
      a[e] = s.a + row * C;
      b[e] = s.b + row * C;
    }
    tile.a = a;
    tile.b = b;
    tile.sender = item.sender + r * item.stride + begin;
    tile.bias = bias.bias ? static_cast<const T*>(bias.bias) + r * H * item.stride + begin : nullptr;
    tile.grad_bias = bias.grad ? static_cast<T*>(bias.grad) + r * H * item.stride + begin : nullptr;
    tile.bias_stride = item.stride;
    visit(tile, r, i);
    i += tile.count;
  }
}

template <class T, int W, int NV>
void projected_forward_item(const ProjectedScratch<T>& s, const Problem& problem, const Item& item,
                            const ItemBias& bias, const Projection& p, const ItemTable& table) {
  const int64_t C = problem.channels, H = problem.heads;
  const Running<T> run{s.max, s.sum, s.out};
  T *out = static_cast<T*>(problem.out) + (item.token + item.first) * C,
    *lse = static_cast<T*>(problem.lse) + (item.token + item.first) * H;
  pack_molecule<T, W, NV>(problem, item, s.packed);
  start(run, H, C);
  for (int64_t r = 0; r < item.rows; ++r) {
    if (item.count[r] == 0) finish(run, H, problem.dim, out + r * C, lse + r * H);
  }
  for_blocks(item, [&](const BlockRow* rows, int64_t count) {
    project_block(s, problem, item, p, table, rows, count);
    for_tiles(s, problem, item, bias, rows, count, [&](const Tile<T>& tile, int64_t r, int64_t i) {
      const T* query = static_cast<const T*>(problem.query) + (item.token + item.first + r) * C;
      attend_tile<T, W, NV>(s.packed, tile, static_cast<T>(problem.scale), query, run, s.logit);
      if (rows[i].slot + tile.count == item.count[r]) {
        finish(run, H, problem.dim, out + r * C, lse + r * H);
        start(run, H, C);
      }
    });
  });
}

// Row i of a block: from the gradient of its features to V1 and to its displacement, which is added to
// grad_displacement.
template <class T>
void hidden_gradients(const ProjectedScratch<T>& s, const Projection& p, int64_t i, T* grad_displacement) {
  const int64_t F = p.features;
  T* dz = s.grad_features + i * F;
  const T *slope = s.slope + i * F, *d = s.displacement + i * 3;
  for (int64_t f = 0; f < F; ++f) dz[f] *= slope[f];
  for (int x = 0; x < 3; ++x) {
    grad_displacement[x] += dot<T>(F, dz, static_cast<const T*>(p.v1) + x * F);
    if (!p.grad_v1) continue;
    T* to = static_cast<T*>(p.grad_v1) + x * F;
    for (int64_t f = 0; f < F; ++f) to[f] += d[x] * dz[f];
  }
}

// From the gradients of a block's features: of the pair features themselves, or of positions and V1.
template <class T>
void feature_gradients(const ProjectedScratch<T>& s, const Item& item, const Projection& p, const ItemGrad& grad,
                       const BlockRow* rows, int64_t count) {
  const int64_t F = p.features;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t r = rows[i].receiver, j = item.sender[r * item.stride + rows[i].slot];
    if (!p.positions) {
      write_row(p.grad_e, p.type, item.pair_row + r * item.pair_step + j, F, s.grad_features + i * F);
      continue;
    }
    T grad_displacement[3] = {};
    hidden_gradients(s, p, i, grad_displacement);
    if (!grad.positions) continue;
    for (int x = 0; x < 3; ++x) {
      static_cast<T*>(grad.positions)[j * 3 + x] += grad_displacement[x];
      static_cast<T*>(grad.positions)[(item.first + r) * 3 + x] -= grad_displacement[x];
    }
  }
}

// dW_a += x^T da and dW_b += x^T db of a block.
template <class T>
void weight_gradients(const ProjectedScratch<T>& s, int64_t C, const Projection& p, int64_t count) {
  const int64_t F = p.features;
  if (p.grad_weight_a || p.grad_weight_b) pack_transpose<T>(count, F, s.features, s.packed_features);
  if (p.grad_weight_a) {
    pack_b<T>(count, C, s.grad_a, false, s.packed_grad);
    gemm_transposed<T>(F, C, count, s.packed_features, s.packed_grad, static_cast<T*>(p.grad_weight_a));
  }
  if (s.grad_b != s.grad_a && p.grad_weight_b) {
    pack_b<T>(count, C, s.grad_b, false, s.packed_grad);
    gemm_transposed<T>(F, C, count, s.packed_features, s.packed_grad, static_cast<T*>(p.grad_weight_b));
  }
}

// From the gradients of a block's a and b: of tables, weights and features.
template <class T>
void projection_gradients(const ProjectedScratch<T>& s, const Problem& problem, const Item& item, const Projection& p,
                          const ItemTable& table, const ItemGrad& grad, const BlockRow* rows, int64_t count) {
  const int64_t C = problem.channels, F = p.features;
  const bool two = s.grad_b != s.grad_a;
  if (table.grad_a || table.grad_b) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = rows[i].receiver * item.stride;
      const int64_t row = table.grad_row[item.run_table[at + item.run[at + rows[i].slot]]] * C;
      if (table.grad_a) add_row(static_cast<T*>(table.grad_a) + row, s.grad_a + i * C, C);
      if (two && table.grad_b) add_row(static_cast<T*>(table.grad_b) + row, s.grad_b + i * C, C);
    }
  }
  weight_gradients(s, C, p, count);
  if (!p.grad_e && !p.grad_v1 && !grad.positions) return;
  zero(s.grad_features, count * F);
  gemm<T>(count, F, C, s.grad_a, static_cast<const T*>(p.packed_at), s.grad_features);
  if (two) gemm<T>(count, F, C, s.grad_b, static_cast<const T*>(p.packed_bt), s.grad_features);
  feature_gradients(s, item, p, grad, rows, count);
}

template <class T, int W, int NV>
void projected_backward_item(const ProjectedScratch<T>& s, const Problem& problem, const Item& item,
                             const ItemBias& bias, const Projection& p, const ItemTable& table, const ItemGrad& grad) {
  const int64_t C = problem.channels, H = problem.heads;
  const bool wanted =
      p.grad_e || p.grad_v1 || grad.positions || p.grad_weight_a || p.grad_weight_b || table.grad_a || table.grad_b;
  start_backward<T, W, NV>(s.packed, problem, item, grad);
  for (int64_t r = 0; p.grad_e && r < item.rows; ++r) zero_unused<T>(item, r, p.type, p.features, p.grad_e);
  for_blocks(item, [&](const BlockRow* rows, int64_t count) {
    project_block(s, problem, item, p, table, rows, count);
    for_tiles(s, problem, item, bias, rows, count, [&](Tile<T>& tile, int64_t r, int64_t i) {
      const int64_t token = item.token + item.first + r;
      const Receiver<T> receiver = receiver_of<T>(problem, token, s.delta);
      if (i == 0 || rows[i].receiver != rows[i - 1].receiver) {
        row_delta(H, problem.dim, static_cast<const T*>(problem.out) + token * C, receiver.grad_out, s.delta);
      }
      T *grad_a[kTile], *grad_b[kTile];
      for (int64_t e = 0; e < tile.count; ++e) {
        grad_a[e] = s.grad_a + (i + e) * C;
        grad_b[e] = s.grad_b + (i + e) * C;
      }
      tile.grad_a = wanted ? grad_a : nullptr;
      tile.grad_b = !wanted ? nullptr : s.grad_b == s.grad_a ? grad_a : grad_b;
      attend_tile_backward<T, W, NV>(s.packed, tile, static_cast<T>(problem.scale), receiver, s.logit, s.grad_logit);
    });
    if (wanted) projection_gradients(s, problem, item, p, table, grad, rows, count);
  });
  finish_backward<T, W, NV>(s.packed, problem, item, grad);
}

}  // namespace
