// DisplacementPair for a whole molecule: one projection serves both directions of a pair. Included by the kernel files
// only.
//
// The displacement of (j, i) is minus that of (i, j), and silu(-z) = silu(z) - z, so that with x_ij = silu(d_ij V1)
//   x_ji M = x_ij M - d_ij (V1 M)
// and the matrix products, nearly all of the work, are done for half of the pairs; the other half is a correction of
// rank 3 with m3 = V1 M. Going back, for the gradients g of rows of a (and likewise of b):
//   the product gets g_ij + g_ji,   dm3 -= d_ij^T g_ji,   d d_ij -= g_ji m3^T,   and at last  dM += V1^T dm3,  dV1 +=
//   dm3 M^T.
// Pairs come in squares of kSide x kSide atoms, so that both directions give tiles of kSide senders.
#pragma once

#include "projected.h"

namespace {

constexpr int64_t kSide = 8;
static_assert(kSide * kSide <= kBlock, "a square fits a block");

template <class T>
struct MirrorScratch {
  ProjectedScratch<T> block;         // a, b: the direct rows (i, j)
  T *mirror_a, *mirror_b;            // (kBlock, C): rows (j, i); equal when b is a
  T *m3_a, *m3_b;                    // (3, C): V1 W_a, V1 W_b
  T *grad_mirror_a, *grad_mirror_b;  // (kBlock, C)
  T *grad_m3_a, *grad_m3_b;          // (3, C)
  T *max, *sum, *out, *delta;        // (size, H), (size, H), (size, C), (size, H)
  T *bias, *grad_bias;               // (H, kSlotPadding): of one tile
  T* zeros;                          // (C): the table row where there is no table
  int32_t* slot;                     // (size, size): slot of a pair, -1 if it is not allowed
};

template <class T>
int64_t lay_out(MirrorScratch<T>& s, char* base, const Problem& problem, const Item& item, const Projection& p,
                const ItemTable& table, bool backward) {
  const int64_t C = problem.channels, H = problem.heads, n = item.size;
  s = {};
  const int64_t first = lay_out(s.block, base, problem, item, p, table, backward);
  Carver carver(base ? base + first : nullptr);
  const bool one = s.block.b == s.block.a && p.packed_b == p.packed_a && table.table_b == table.table_a;
  s.mirror_a = carver.take<T>(kBlock * C);
  s.mirror_b = one ? s.mirror_a : carver.take<T>(kBlock * C);
  s.m3_a = carver.take<T>(3 * C);
  s.m3_b = p.packed_b == p.packed_a ? s.m3_a : carver.take<T>(3 * C);
  s.bias = carver.take<T>(H * kSlotPadding);
  s.zeros = carver.take<T>(C);
  s.slot = carver.take<int32_t>(n * n);
  if (backward) {
    s.grad_mirror_a = carver.take<T>(kBlock * C);
    s.grad_mirror_b = one ? s.grad_mirror_a : carver.take<T>(kBlock * C);
    s.grad_m3_a = carver.take<T>(3 * C);
    s.grad_m3_b = p.packed_b == p.packed_a ? s.grad_m3_a : carver.take<T>(3 * C);
    s.grad_bias = carver.take<T>(H * kSlotPadding);
    s.delta = carver.take<T>(n * H);
  } else {
    s.max = carver.take<T>(n * H);
    s.sum = carver.take<T>(n * H);
    s.out = carver.take<T>(n * C);
  }
  return first + carver.used();
}

// A pair i <= j in a block, with the slots of (i, j) and (j, i), -1 where not allowed.
struct MirrorRow {
  int32_t i, j, direct, mirrored;
};

template <class T>
void prepare(const MirrorScratch<T>& s, const Problem& problem, const Item& item, const Projection& p) {
  const int64_t C = problem.channels, n = item.size;
  for (int64_t x = 0; x < n * n; ++x) s.slot[x] = -1;
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t e = 0; e < item.count[r]; ++e)
      s.slot[r * n + item.sender[r * item.stride + e]] = static_cast<int32_t>(e);
  }
  zero(s.zeros, C);
  zero(s.m3_a, 3 * C);
  gemm<T>(3, C, p.features, static_cast<const T*>(p.v1), static_cast<const T*>(p.packed_a), s.m3_a);
  if (s.m3_b == s.m3_a) return;
  zero(s.m3_b, 3 * C);
  gemm<T>(3, C, p.features, static_cast<const T*>(p.v1), static_cast<const T*>(p.packed_b), s.m3_b);
}

// Calls visit(rows, count) for the squares of pairs of which at least one direction is allowed.
template <class T, class F>
void for_squares(const MirrorScratch<T>& s, int64_t n, F&& visit) {
  MirrorRow rows[kBlock];
  for (int64_t i0 = 0; i0 < n; i0 += kSide) {
    for (int64_t j0 = i0; j0 < n; j0 += kSide) {
      int64_t count = 0;
      for (int64_t i = i0; i < i0 + kSide && i < n; ++i) {
        for (int64_t j = j0 > i ? j0 : i; j < j0 + kSide && j < n; ++j) {
          const int32_t direct = s.slot[i * n + j], mirrored = i == j ? -1 : s.slot[j * n + i];
          if (direct >= 0 || mirrored >= 0)
            rows[count++] = {static_cast<int32_t>(i), static_cast<int32_t>(j), direct, mirrored};
        }
      }
      if (count) visit(rows, count);
    }
  }
}

inline int64_t table_row(const Item& item, int64_t receiver, int64_t slot) {
  const int64_t at = receiver * item.stride;
  return item.run_table[at + item.run[at + slot]];
}

// Rows (i, j) in place and rows (j, i) from the product `direct`: mirror = direct - d m3 + table row, direct += table
// row.
template <class T>
DITKERNELS_LOOP void both_directions(int64_t C, const T* d, const T* m3, const T* table_direct,
                                     const T* table_mirrored, T* direct, T* mirror) {
  constexpr int W = kRegisterBytes / sizeof(T);
  const auto run = [&](int64_t c, auto width) DITKERNELS_UNROLLED {
    constexpr int N = decltype(width)::kValue;
    const auto x = load<T, N>(direct + c);
    const auto turned = load<T, N>(m3 + c) * d[0] + load<T, N>(m3 + C + c) * d[1] + load<T, N>(m3 + 2 * C + c) * d[2];
    store<T, N>(mirror + c, x - turned + load<T, N>(table_mirrored + c));
    store<T, N>(direct + c, x + load<T, N>(table_direct + c));
  };
  int64_t c = 0;
  for (; c + W <= C; c += W) run(c, Constant<W>{});
  for (; c < C; ++c) run(c, Constant<1>{});
}

template <class T>
void project_square(const MirrorScratch<T>& s, const Problem& problem, const Item& item, const Projection& p,
                    const ItemTable& table, const MirrorRow* rows, int64_t count) {
  const ProjectedScratch<T>& k = s.block;
  const int64_t C = problem.channels, F = p.features;
  const T* positions = static_cast<const T*>(p.positions) + item.token * 3;
  for (int64_t x = 0; x < count; ++x) {
    T* d = k.displacement + x * 3;
    for (int y = 0; y < 3; ++y) d[y] = positions[rows[x].j * 3 + y] - positions[rows[x].i * 3 + y];
    hidden_row<T>(F, d, static_cast<const T*>(p.v1), k.features + x * F, k.slope ? k.slope + x * F : nullptr);
  }
  const auto side = [&](const void* packed, const T* m3, const void* tables, T* direct, T* mirror) {
    gemm<T, false>(count, C, F, k.features, static_cast<const T*>(packed), direct);
    for (int64_t x = 0; x < count; ++x) {
      const T *to_direct = s.zeros, *to_mirror = s.zeros;
      if (tables && rows[x].direct >= 0) {
        to_direct = static_cast<const T*>(tables) + table.row[table_row(item, rows[x].i, rows[x].direct)] * C;
      }
      if (tables && rows[x].mirrored >= 0) {
        to_mirror = static_cast<const T*>(tables) + table.row[table_row(item, rows[x].j, rows[x].mirrored)] * C;
      }
      both_directions(C, k.displacement + x * 3, m3, to_direct, to_mirror, direct + x * C, mirror + x * C);
    }
  };
  side(p.packed_a, s.m3_a, table.table_a, k.a, s.mirror_a);
  if (k.b != k.a) side(p.packed_b, s.m3_b, table.table_b, k.b, s.mirror_b);
}

// Calls visit(tile, receiver, place) for the tiles of a square in one direction; place[e] is the row of slot e in the
// block's matrices. Gradients of the bias go from the tile's copy to the item's.
template <class T, class F>
void for_square_tiles(const MirrorScratch<T>& s, const Problem& problem, const Item& item, const ItemBias& bias,
                      const MirrorRow* rows, int64_t count, bool mirrored, F&& visit) {
  const int64_t C = problem.channels, H = problem.heads;
  const T *matrix_a = mirrored ? s.mirror_a : s.block.a, *matrix_b = mirrored ? s.mirror_b : s.block.b;
  constexpr int64_t kStep = kRegisterBytes / sizeof(T);
  bool seen[kBlock] = {};
  for (int64_t first = 0; first < count; ++first) {
    if (seen[first] || (mirrored ? rows[first].mirrored : rows[first].direct) < 0) continue;
    const int64_t receiver = mirrored ? rows[first].j : rows[first].i;
    int32_t sender[kSlotPadding];
    int64_t place[kSlotPadding], slot[kSlotPadding];
    const T *a[kSlotPadding], *b[kSlotPadding];
    int64_t e = 0;
    for (int64_t x = first; x < count; ++x) {
      const int32_t here = mirrored ? rows[x].mirrored : rows[x].direct;
      if ((mirrored ? rows[x].j : rows[x].i) != receiver || here < 0) continue;
      seen[x] = true;
      sender[e] = mirrored ? rows[x].i : rows[x].j;
      slot[e] = here;
      place[e++] = x;
    }
    Tile<T> tile{};
    tile.count = e;
    tile.padded = (e + kStep - 1) / kStep * kStep;
    for (; e < tile.padded; ++e) {
      sender[e] = sender[e - 1];
      slot[e] = slot[e - 1];
      place[e] = place[e - 1];
    }
    for (e = 0; e < tile.padded; ++e) {
      a[e] = matrix_a + place[e] * C;
      b[e] = matrix_b + place[e] * C;
    }
    tile.sender = sender;
    tile.a = a;
    tile.b = b;
    tile.bias_stride = kSlotPadding;
    if (bias.bias) {
      for (int64_t h = 0; h < H; ++h) {
        const T* from = static_cast<const T*>(bias.bias) + (receiver * H + h) * item.stride;
        for (e = 0; e < tile.padded; ++e) s.bias[h * kSlotPadding + e] = from[slot[e]];
      }
      tile.bias = s.bias;
    }
    tile.grad_bias = bias.grad ? s.grad_bias : nullptr;
    visit(tile, receiver, place);
    if (!bias.grad) continue;
    for (int64_t h = 0; h < H; ++h) {
      T* to = static_cast<T*>(bias.grad) + (receiver * H + h) * item.stride;
      for (e = 0; e < tile.count; ++e) to[slot[e]] = s.grad_bias[h * kSlotPadding + e];
    }
  }
}

template <class T, int W, int NV>
void mirror_forward_item(const MirrorScratch<T>& s, const Problem& problem, const Item& item, const ItemBias& bias,
                         const Projection& p, const ItemTable& table) {
  const int64_t C = problem.channels, H = problem.heads;
  pack_molecule<T, W, NV>(problem, item, s.block.packed);
  prepare(s, problem, item, p);
  const auto running = [&](int64_t r) { return Running<T>{s.max + r * H, s.sum + r * H, s.out + r * C}; };
  for (int64_t r = 0; r < item.size; ++r) start(running(r), H, C);
  for_squares(s, item.size, [&](const MirrorRow* rows, int64_t count) {
    project_square(s, problem, item, p, table, rows, count);
    for (int direction = 0; direction < 2; ++direction) {
      const bool mirrored = direction == 1;
      for_square_tiles(s, problem, item, bias, rows, count, mirrored,
                       [&](const Tile<T>& tile, int64_t r, const int64_t*) {
                         attend_tile<T, W, NV>(s.block.packed, tile, static_cast<T>(problem.scale),
                                               static_cast<const T*>(problem.query) + (item.token + r) * C, running(r),
                                               s.block.logit);
                       });
    }
  });
  for (int64_t r = 0; r < item.size; ++r) {
    finish(running(r), H, problem.dim, static_cast<T*>(problem.out) + (item.token + r) * C,
           static_cast<T*>(problem.lse) + (item.token + r) * H);
  }
}

// One side of the way back from the rows of a square to what they are made of, up to the sum of both directions in
// grad.
template <class T>
void join_directions(const MirrorScratch<T>& s, const Problem& problem, const Item& item, const ItemTable& table,
                     const MirrorRow* rows, int64_t count, const T* m3, void* grad_table, T* grad, const T* grad_mirror,
                     T* grad_m3, T* grad_displacement) {
  const int64_t C = problem.channels;
  for (int64_t x = 0; x < count; ++x) {
    T *direct = grad + x * C, *d = s.block.displacement + x * 3;
    const T* mirror = grad_mirror + x * C;
    if (rows[x].direct < 0) zero(direct, C);
    if (grad_table && rows[x].direct >= 0) {
      const int64_t row = table.grad_row[table_row(item, rows[x].i, rows[x].direct)];
      add_row(static_cast<T*>(grad_table) + row * C, direct, C);
    }
    if (rows[x].mirrored < 0) continue;
    if (grad_table) {
      const int64_t row = table.grad_row[table_row(item, rows[x].j, rows[x].mirrored)];
      add_row(static_cast<T*>(grad_table) + row * C, mirror, C);
    }
    for (int y = 0; y < 3; ++y) {
      grad_displacement[x * 3 + y] -= dot<T>(C, mirror, m3 + y * C);
      T* to = grad_m3 + y * C;
      for (int64_t c = 0; c < C; ++c) to[c] -= d[y] * mirror[c];
    }
    add_row(direct, mirror, C);
  }
}

template <class T>
void square_gradients(const MirrorScratch<T>& s, const Problem& problem, const Item& item, const Projection& p,
                      const ItemTable& table, const ItemGrad& grad, const MirrorRow* rows, int64_t count) {
  const ProjectedScratch<T>& k = s.block;
  const int64_t C = problem.channels, F = p.features;
  const bool two = k.grad_b != k.grad_a;
  T grad_displacement[kBlock * 3] = {};
  join_directions(s, problem, item, table, rows, count, s.m3_a, table.grad_a, k.grad_a, s.grad_mirror_a, s.grad_m3_a,
                  grad_displacement);
  if (two) {
    join_directions(s, problem, item, table, rows, count, s.m3_b, table.grad_b, k.grad_b, s.grad_mirror_b, s.grad_m3_b,
                    grad_displacement);
  }
  weight_gradients(k, C, p, count);
  if (!p.grad_v1 && !grad.positions) return;
  zero(k.grad_features, count * F);
  gemm<T>(count, F, C, k.grad_a, static_cast<const T*>(p.packed_at), k.grad_features);
  if (two) gemm<T>(count, F, C, k.grad_b, static_cast<const T*>(p.packed_bt), k.grad_features);
  for (int64_t x = 0; x < count; ++x) {
    hidden_gradients(k, p, x, grad_displacement + x * 3);
    if (!grad.positions) continue;
    for (int y = 0; y < 3; ++y) {
      static_cast<T*>(grad.positions)[rows[x].j * 3 + y] += grad_displacement[x * 3 + y];
      static_cast<T*>(grad.positions)[rows[x].i * 3 + y] -= grad_displacement[x * 3 + y];
    }
  }
}

// From the gradient of m3 = V1 M to those of M (features, C) and V1.
template <class T>
void m3_gradients(int64_t C, const Projection& p, const T* grad_m3, const void* packed_t, void* grad_weight) {
  const int64_t F = p.features;
  const T* v1 = static_cast<const T*>(p.v1);
  if (grad_weight) {
    for (int y = 0; y < 3; ++y) {
      for (int64_t f = 0; f < F; ++f) {
        T* to = static_cast<T*>(grad_weight) + f * C;
        const T v = v1[y * F + f];
        for (int64_t c = 0; c < C; ++c) to[c] += v * grad_m3[y * C + c];
      }
    }
  }
  if (p.grad_v1) gemm<T>(3, F, C, grad_m3, static_cast<const T*>(packed_t), static_cast<T*>(p.grad_v1));
}

template <class T, int W, int NV>
void mirror_backward_item(const MirrorScratch<T>& s, const Problem& problem, const Item& item, const ItemBias& bias,
                          const Projection& p, const ItemTable& table, const ItemGrad& grad) {
  const ProjectedScratch<T>& k = s.block;
  const int64_t C = problem.channels, H = problem.heads;
  const bool wanted = p.grad_v1 || grad.positions || p.grad_weight_a || p.grad_weight_b || table.grad_a || table.grad_b;
  start_backward<T, W, NV>(k.packed, problem, item, grad);
  prepare(s, problem, item, p);
  zero(s.grad_m3_a, 3 * C);
  zero(s.grad_m3_b, 3 * C);
  for (int64_t r = 0; r < item.size; ++r) {
    const int64_t at = (item.token + r) * C;
    row_delta(H, problem.dim, static_cast<const T*>(problem.out) + at, static_cast<const T*>(problem.grad_out) + at,
              s.delta + r * H);
  }
  for_squares(s, item.size, [&](const MirrorRow* rows, int64_t count) {
    project_square(s, problem, item, p, table, rows, count);
    for (int direction = 0; direction < 2; ++direction) {
      const bool mirrored = direction == 1;
      T *matrix_a = mirrored ? s.grad_mirror_a : k.grad_a, *matrix_b = mirrored ? s.grad_mirror_b : k.grad_b;
      for_square_tiles(s, problem, item, bias, rows, count, mirrored,
                       [&](Tile<T>& tile, int64_t r, const int64_t* place) {
                         T *grad_a[kSide], *grad_b[kSide];
                         for (int64_t e = 0; e < tile.count; ++e) {
                           grad_a[e] = matrix_a + place[e] * C;
                           grad_b[e] = matrix_b + place[e] * C;
                         }
                         tile.grad_a = wanted ? grad_a : nullptr;
                         tile.grad_b = !wanted ? nullptr : matrix_b == matrix_a ? grad_a : grad_b;
                         attend_tile_backward<T, W, NV>(k.packed, tile, static_cast<T>(problem.scale),
                                                        receiver_of<T>(problem, item.token + r, s.delta + r * H),
                                                        k.logit, k.grad_logit);
                       });
    }
    if (wanted) square_gradients(s, problem, item, p, table, grad, rows, count);
  });
  m3_gradients(C, p, s.grad_m3_a, p.packed_at, p.grad_weight_a);
  if (s.grad_m3_b != s.grad_m3_a) m3_gradients(C, p, s.grad_m3_b, p.packed_bt, p.grad_weight_b);
  finish_backward<T, W, NV>(k.packed, problem, item, grad);
}

}  // namespace
