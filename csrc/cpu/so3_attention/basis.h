// so3_attention with radial weights as projections of radial functions, tile by tile (tiles.h). Included by the kernel
// files only.
//
//   rho_J = phi scaling_J,   a = rho_0 W_a,   g_J = rho_J W_gJ         (rows of a tile, one head at a time, by gemm.h)
//
// The forward visits the tiles twice: all logits, then, with the softmax known, all values. The backward recomputes p
// from lse, so that once is enough:
//   dW_a += rho_0^T da,   dW_gJ += rho_J^T dg_J,   drho_0 = da W_a^T + ...,   drho_J = dg_J W_gJ^T,
//   dscaling_J += drho_J phi,   dr = sum_J drho_J scaling_J dphi/dr.
// Nothing larger than a tile exists per pair, but for logits (receivers, H, senders) in the forward.
#pragma once

#include "../gemm.h"
#include "radial_functions.h"
#include "tiles.h"

namespace {

template <class T>
struct So3BasisScratch {
  T *key, *value, *grad_key, *grad_value;  // (C / W, size, M, W)
  Tile tile;
  T* logit;                 // (rows, H, stride), of the item; forward only
  // Of a tile's rows and pairs, kTilePairs of either.
  double* vector;           // (rows, 4): direction, distance
  T* row_harmonics;         // (filters, rows)
  T *harmonics, *weighted;  // (filters, pairs): Y, p Y
  double *function, *function_slope;  // (K), of one row
  T *phi, *slope;           // (rows, K)
  T *rho, *grad_rho;        // (degrees, rows, K); rho is phi without scaling
  T *a, *g, *grad_a, *grad_g;  // (rows, irreps * D), (degrees, rows, D), of one head
  T* packed_rho;            // (degrees) packed as transposed left factors
  T* packed_grad;           // a gradient of a or g packed as a right factor
  T* wide_y;                // (pairs, kMaxFilters, W): dY, lane by lane
  // Of one receiver in a tile.
  T* wide;                  // (kBlock + W, W): sums over the channels of a head, lane by lane
  T *p, *dp;                // (kBlock)
  T *product, *z;           // (filters, values, W): S, and its gradient
};

template <class T, int W>
int64_t lay_out(So3BasisScratch<T>& s, char* base, const Problem& problem, const Item& item, const So3Shape& shape,
                const So3Basis& basis, bool backward) {
  Carver carver(base);
  const int64_t C = problem.channels, D = problem.dim, K = basis.count, P = kTilePairs, J = shape.degrees;
  const int64_t product = shape.filters * shape.values * W;
  s = {};
  s.key = carver.take<T>(item.size * shape.qk * C);
  s.value = carver.take<T>(item.size * shape.values * C);
  lay_out(s.tile, carver, item);
  s.vector = carver.take<double>(P * 4);
  s.row_harmonics = carver.take<T>(shape.filters * P);
  s.harmonics = carver.take<T>(shape.filters * P);
  s.weighted = carver.take<T>(shape.filters * P);
  s.function = carver.take<double>(K);
  s.phi = carver.take<T>(P * K);
  s.rho = basis.scaling ? carver.take<T>(J * P * K) : s.phi;
  s.a = carver.take<T>(P * shape.irreps * D);
  s.g = carver.take<T>(J * P * D);
  s.wide = carver.take<T>((kBlock + W) * W);
  s.p = carver.take<T>(kBlock);
  s.product = carver.take<T>(product);
  if (!backward) {
    s.logit = carver.take<T>(item.rows * problem.heads * item.stride);
    return carver.used();
  }
  s.grad_key = carver.take<T>(item.size * shape.qk * C);
  s.grad_value = carver.take<T>(item.size * shape.values * C);
  s.function_slope = carver.take<double>(K);
  s.slope = carver.take<T>(P * K);
  s.grad_rho = carver.take<T>(J * P * K);
  s.grad_a = carver.take<T>(P * shape.irreps * D);
  s.grad_g = carver.take<T>(J * P * D);
  s.packed_rho = carver.take<T>(J * packed_transpose_size<T>(P, K));
  s.packed_grad = carver.take<T>(packed_size<T>(P, shape.irreps * D));
  s.wide_y = carver.take<T>(P * kMaxFilters * W);
  s.dp = carver.take<T>(kBlock);
  s.z = carver.take<T>(product);
  return carver.used();
}

// Distances, phi (and its slope) and the first `degrees` of rho of a tile's rows.
template <class T>
void radial_rows(const So3BasisScratch<T>& s, const Tile& tile, const Item& item, const So3Shape& shape,
                 const So3Basis& basis, int64_t degrees, bool slope) {
  const int64_t K = basis.count;
  const T* positions = static_cast<const T*>(shape.positions) + item.token * 3;
  for (int64_t i = 0; i < tile.rows; ++i) {
    direction(positions + tile.from[i] * 3, positions + tile.to[i] * 3, s.vector + i * 4);
    radial_functions(basis, s.vector[i * 4 + 3], s.function, slope ? s.function_slope : nullptr);
    T* phi = s.phi + i * K;
    for (int64_t k = 0; k < K; ++k) phi[k] = static_cast<T>(s.function[k]);
    for (int64_t k = 0; slope && k < K; ++k) s.slope[i * K + k] = static_cast<T>(s.function_slope[k]);
    if (!basis.scaling) continue;
    const T* scaling = static_cast<const T*>(basis.scaling) + basis.row[tile.table[i]] * shape.degrees * K;
    for (int64_t J = 0; J < degrees; ++J) {
      T* rho = s.rho + (J * kTilePairs + i) * K;
      for (int64_t k = 0; k < K; ++k) rho[k] = phi[k] * scaling[J * K + k];
    }
  }
}

// Harmonics of the rows, and from them those of the pairs: Y_J(-u) = (-1)^J Y_J(u).
template <class T>
void pair_harmonics(const So3BasisScratch<T>& s, const Tile& tile, const So3Shape& shape) {
  for (int64_t i = 0; i < tile.rows; ++i)
    harmonics_of(s.vector + i * 4, shape.filters, s.row_harmonics + i, kTilePairs);
  for (int64_t f = 0; f < shape.filters; ++f) {
    const T *from = s.row_harmonics + f * kTilePairs, sign = f >= 1 && f < 4 ? T(-1) : T(1);
    T* to = s.harmonics + f * kTilePairs;
    for (int64_t e = 0; e < tile.pairs; ++e) to[e] = from[tile.row[e]] * (tile.reversed[e] ? sign : T(1));
  }
}

template <class T>
const T* rho_of(const So3BasisScratch<T>& s, const So3Basis& basis, int64_t J) {
  return basis.scaling ? s.rho + J * kTilePairs * basis.count : s.phi;
}

// a of one head, for the rows of a tile.
template <class T>
void project_a(const So3BasisScratch<T>& s, const Tile& tile, const Problem& problem, const So3Shape& shape,
               const So3Basis& basis, int64_t h) {
  const int64_t K = basis.count, A = shape.irreps * problem.dim;
  gemm<T, false>(tile.rows, A, K, rho_of(s, basis, 0),
                 static_cast<const T*>(basis.packed_a) + h * packed_size<T>(K, A), s.a);
}

template <class T>
void project_g(const So3BasisScratch<T>& s, const Tile& tile, const Problem& problem, const So3Shape& shape,
               const So3Basis& basis, int64_t h) {
  const int64_t K = basis.count, D = problem.dim;
  for (int64_t J = 0; J < shape.degrees; ++J)
    gemm<T, false>(tile.rows, D, K, rho_of(s, basis, J),
                   static_cast<const T*>(basis.packed_g) + (h * shape.degrees + J) * packed_size<T>(K, D),
                   s.g + J * kTilePairs * D);
}

template <class T>
Radial<T> tile_radial(T* a, T* g, const Problem& problem, const So3Shape& shape) {
  const int64_t D = problem.dim;
  return {a, g, shape.irreps * D, D, D, kTilePairs * D};
}

template <class T, int W>
void start_basis(const So3BasisScratch<T>& s, const Problem& problem, const Item& item, const So3Shape& shape) {
  const int64_t C = problem.channels;
  pack_components<T, W>(item.size * shape.qk, C, static_cast<const T*>(problem.key) + item.token * shape.qk * C, s.key);
  pack_components<T, W>(item.size * shape.values, C,
                        static_cast<const T*>(problem.value) + item.token * shape.values * C, s.value);
}

template <class T, int W>
void so3_basis_forward_item(So3BasisScratch<T>& s, const Problem& problem, const Item& item, const ItemBias& bias,
                            const So3Shape& shape, const So3Basis& basis) {
  const int64_t C = problem.channels, D = problem.dim, H = problem.heads, stride = item.stride;
  const Radial<T> radial = tile_radial(s.a, s.g, problem, shape);
  const int64_t token = item.token + item.first;
  const T* query = static_cast<const T*>(problem.query) + token * shape.qk * C;
  T *out = static_cast<T*>(problem.out) + token * shape.outputs * C, *lse = static_cast<T*>(problem.lse) + token * H;
  start_basis<T, W>(s, problem, item, shape);
  for_tiles(s.tile, item, [&](const Tile& tile) {
    radial_rows(s, tile, item, shape, basis, 1, false);
    for (int64_t h = 0; h < H; ++h) {
      project_a(s, tile, problem, shape, basis, h);
      for (int64_t i = 0; i < tile.receivers; ++i) {
        const TileReceiver& x = tile.receiver[i];
        head_logits<T, W>(problem, shape, item.size, h, s.key, query + x.number * shape.qk * C,
                          {x.count, tile.sender + x.first, tile.row + x.first}, radial, s.wide,
                          s.logit + (x.number * H + h) * stride + x.slot);
      }
    }
  });
  zero(out, item.rows * shape.outputs * C);
  for (int64_t r = 0; r < item.rows; ++r) {
    for (int64_t h = 0; h < H; ++h) {
      T* row = s.logit + (r * H + h) * stride;
      if (bias.bias) add_row(row, static_cast<const T*>(bias.bias) + (r * H + h) * stride, item.count[r]);
      if (!normalize(item.count[r], padded_count(item.count[r]), row, lse + r * H + h)) zero(row, item.count[r]);
    }
  }
  for_tiles(s.tile, item, [&](const Tile& tile) {
    radial_rows(s, tile, item, shape, basis, shape.degrees, false);
    pair_harmonics(s, tile, shape);
    for (int64_t h = 0; h < H; ++h) {
      project_g(s, tile, problem, shape, basis, h);
      for (int64_t i = 0; i < tile.receivers; ++i) {
        const TileReceiver& x = tile.receiver[i];
        const Senders list{x.count, tile.sender + x.first, tile.row + x.first};
        weight_harmonics(x.count, kTilePairs, shape.filters, s.harmonics + x.first,
                         s.logit + (x.number * H + h) * stride + x.slot, s.weighted);
        for (int64_t b = 0; b < D / W; ++b) {
          const int64_t channel = h * D + b * W;
          products<T, W>(shape, s.value + channel * item.size * shape.values, list, s.weighted, kTilePairs, radial,
                         b * W, s.product);
          add_couplings<T, W>(shape, C, static_cast<const T*>(shape.path_weight) + channel, s.product,
                              out + x.number * shape.outputs * C + channel);
        }
      }
    }
  });
}

// From the gradients of a and g of a head to those of the weights and of rho.
template <class T>
void project_backward(const So3BasisScratch<T>& s, const Tile& tile, const Problem& problem, const So3Shape& shape,
                      const So3Basis& basis, int64_t h, bool rho) {
  const int64_t K = basis.count, D = problem.dim, n = tile.rows, A = shape.irreps * D;
  const int64_t packed = packed_transpose_size<T>(kTilePairs, K);
  if (basis.grad_a) {
    pack_b<T>(n, A, s.grad_a, false, s.packed_grad);
    gemm_transposed<T>(K, A, n, s.packed_rho, s.packed_grad, static_cast<T*>(basis.grad_a) + h * K * A);
  }
  if (rho)
    gemm<T>(n, K, A, s.grad_a, static_cast<const T*>(basis.packed_at) + h * packed_size<T>(A, K), s.grad_rho);
  for (int64_t J = 0; J < shape.degrees; ++J) {
    const T* grad = s.grad_g + J * kTilePairs * D;
    const int64_t part = h * shape.degrees + J;
    if (basis.grad_g) {
      pack_b<T>(n, D, grad, false, s.packed_grad);
      gemm_transposed<T>(K, D, n, s.packed_rho + (basis.scaling ? J * packed : 0), s.packed_grad,
                         static_cast<T*>(basis.grad_g) + part * K * D);
    }
    if (rho)
      gemm<T>(n, K, D, grad, static_cast<const T*>(basis.packed_gt) + part * packed_size<T>(D, K),
              s.grad_rho + J * kTilePairs * K);
  }
}

// From the gradients of rho and of the harmonics (wide_y, of the pairs) to those of the scaling table and of the
// positions.
template <class T, int W>
void radial_backward(const So3BasisScratch<T>& s, const Tile& tile, const So3Shape& shape, const So3Basis& basis,
                     T* positions) {
  const int64_t K = basis.count, filters = shape.filters;
  T* df = s.row_harmonics;  // (rows, kMaxFilters): the harmonics themselves are no longer needed
  if (positions) {
    zero(df, tile.rows * filters);
    for (int64_t e = 0; e < tile.pairs; ++e) {
      T* to = df + tile.row[e] * filters;
      for (int64_t f = 1; f < filters; ++f) {
        const T sum = sum_lanes<T, W>(load<T, W>(s.wide_y + (e * kMaxFilters + f) * W));
        to[f] += tile.reversed[e] && f < 4 ? -sum : sum;
      }
    }
  }
  for (int64_t i = 0; i < tile.rows; ++i) {
    const T *phi = s.phi + i * K, *slope = s.slope + i * K;
    const int64_t local = basis.scaling ? tile.table[i] : 0;
    const T* scaling =
        basis.scaling ? static_cast<const T*>(basis.scaling) + basis.row[local] * shape.degrees * K : nullptr;
    T* to = basis.grad_scaling ? static_cast<T*>(basis.grad_scaling) + basis.grad_row[local] * shape.degrees * K
                               : nullptr;
    T radial = 0;
    for (int64_t J = 0; J < shape.degrees; ++J) {
      T* grad = s.grad_rho + (J * kTilePairs + i) * K;
      for (int64_t k = 0; to && k < K; ++k) to[J * K + k] += grad[k] * phi[k];
      if (!positions) continue;
      for (int64_t k = 0; scaling && k < K; ++k) grad[k] *= scaling[J * K + k];
      radial += dot(K, grad, slope);
    }
    if (!positions) continue;
    double wide[kMaxFilters], d[3];
    for (int64_t f = 1; f < filters; ++f) wide[f] = static_cast<double>(df[i * filters + f]);
    if (!vector_gradient(s.vector + i * 4, filters, wide, static_cast<double>(radial), d)) continue;
    for (int x = 0; x < 3; ++x) {
      positions[tile.to[i] * 3 + x] += static_cast<T>(d[x]);
      positions[tile.from[i] * 3 + x] -= static_cast<T>(d[x]);
    }
  }
}

template <class T, int W>
void so3_basis_backward_item(So3BasisScratch<T>& s, const Problem& problem, const Item& item, const ItemBias& bias,
                             const So3Shape& shape, const So3Basis& basis, const So3Grad& grad) {
  const int64_t C = problem.channels, D = problem.dim, H = problem.heads, stride = item.stride, K = basis.count;
  const bool rho = basis.grad_scaling || grad.positions, weights = basis.grad_a || basis.grad_g;
  const T scale = static_cast<T>(problem.scale);
  const Radial<T> radial = tile_radial(s.a, s.g, problem, shape),
                  to = tile_radial(rho || weights ? s.grad_a : nullptr, rho || weights ? s.grad_g : nullptr, problem,
                                   shape);
  const int64_t token = item.token + item.first;
  const T *query = static_cast<const T*>(problem.query) + token * shape.qk * C,
          *out = static_cast<const T*>(problem.out) + token * shape.outputs * C,
          *grad_out = static_cast<const T*>(problem.grad_out) + token * shape.outputs * C,
          *lse = static_cast<const T*>(problem.lse) + token * H;
  T *grad_query = static_cast<T*>(problem.grad_query) + token * shape.qk * C,
    *wide_y = grad.positions ? s.wide_y : nullptr, *positions = static_cast<T*>(grad.positions);
  start_basis<T, W>(s, problem, item, shape);
  zero(grad_query, item.rows * shape.qk * C);
  zero(s.grad_key, item.size * shape.qk * C);
  zero(s.grad_value, item.size * shape.values * C);
  if (positions) zero(positions, item.size * 3);

  // One head of one receiver in a tile.
  const auto receiver = [&](const Tile& tile, const TileReceiver& x, int64_t h) {
    const Senders list{x.count, tile.sender + x.first, tile.row + x.first};
    const T *own_query = query + x.number * shape.qk * C, *own_out = out + x.number * shape.outputs * C,
            *own_grad_out = grad_out + x.number * shape.outputs * C;
    const int64_t at_slot = (x.number * H + h) * stride + x.slot;
    head_logits<T, W>(problem, shape, item.size, h, s.key, own_query, list, radial, s.wide, s.p);
    if (bias.bias) add_row(s.p, static_cast<const T*>(bias.bias) + at_slot, x.count);
    normalized(x.count, padded_count(x.count), lse[x.number * H + h], s.p);
    T delta = 0;
    for (int64_t m = 0; m < shape.outputs; ++m) delta += dot(D, own_out + m * C + h * D, own_grad_out + m * C + h * D);
    weight_harmonics(x.count, kTilePairs, shape.filters, s.harmonics + x.first, s.p, s.weighted);
    for (int64_t b = 0; b < D / W; ++b) {
      const int64_t channel = h * D + b * W, at = channel * item.size * shape.values;
      double* grad_weight = grad.path_weight ? grad.path_weight + channel : nullptr;
      if (grad_weight)
        products<T, W>(shape, s.value + at, list, s.weighted, kTilePairs, radial, b * W, s.product);
      coupling_gradients<T, W>(shape, C, static_cast<const T*>(shape.path_weight) + channel, own_grad_out + channel,
                               s.product, s.z, grad_weight);
      value_gradients<T, W, true>(shape, s.z, s.harmonics + x.first, s.weighted, kTilePairs, s.p, s.value + at,
                                  s.grad_value + at, list, radial, to, b * W, b == 0, s.wide,
                                  wide_y ? wide_y + x.first * kMaxFilters * W : nullptr);
    }
    sum_rows<T, W>(x.count, s.wide, s.dp);
    for (int64_t e = 0; e < x.count; ++e) s.dp[e] = s.p[e] * (s.dp[e] - delta);
    if (bias.grad) copy_row(static_cast<T*>(bias.grad) + at_slot, s.dp, x.count);
    for (int64_t b = 0; b < D / W; ++b) {
      const int64_t channel = h * D + b * W, at = channel * item.size * shape.qk;
      logit_gradients<T, W, true>(shape, C, scale, s.dp, own_query + channel, s.key + at, s.grad_key + at, list, radial,
                                  to, b * W, grad_query + x.number * shape.qk * C + channel);
    }
  };

  for_tiles(s.tile, item, [&](const Tile& tile) {
    radial_rows(s, tile, item, shape, basis, shape.degrees, positions != nullptr);
    pair_harmonics(s, tile, shape);
    if (wide_y) zero(wide_y, tile.pairs * kMaxFilters * W);
    for (int64_t J = 0; J < shape.degrees; ++J) {
      if (rho) zero(s.grad_rho + J * kTilePairs * K, tile.rows * K);
      if (weights && (J == 0 || basis.scaling))
        pack_transpose<T>(tile.rows, K, rho_of(s, basis, J),
                          s.packed_rho + J * packed_transpose_size<T>(kTilePairs, K));
    }
    for (int64_t h = 0; h < H; ++h) {
      project_a(s, tile, problem, shape, basis, h);
      project_g(s, tile, problem, shape, basis, h);
      if (to.a) {
        zero(s.grad_a, tile.rows * shape.irreps * D);
        for (int64_t J = 0; J < shape.degrees; ++J) zero(s.grad_g + J * kTilePairs * D, tile.rows * D);
      }
      for (int64_t i = 0; i < tile.receivers; ++i) receiver(tile, tile.receiver[i], h);
      if (to.a) project_backward(s, tile, problem, shape, basis, h, rho);
    }
    if (rho) radial_backward<T, W>(s, tile, shape, basis, positions);
  });
  unpack_components<T, W>(item.size * shape.qk, C, s.grad_key, static_cast<T*>(grad.key));
  unpack_components<T, W>(item.size * shape.values, C, s.grad_value, static_cast<T*>(grad.value));
}

}  // namespace
