// so3_attention with radial weights as projections of radial functions, tile by tile (tiles.h). Included by the kernel
// files only.
//
//   rho_J = phi scaling_J,   a = rho_0 W_a,   g_J = rho_J W_gJ         (rows of a tile, one head at a time, by gemm.h)
//
// The forward adds up p v relative to the largest logit of the tiles up to now. The backward recomputes p from lse:
//   dW_a += rho_0^T da,   dW_gJ += rho_J^T dg_J,   drho_0 = da W_a^T + ...,   drho_J = dg_J W_gJ^T,
//   dscaling_J += drho_J phi,   dr = sum_J drho_J scaling_J dphi/dr.
// Nothing larger than a tile exists per pair.
#pragma once

#include <limits>

#include "banded.h"
#include "radial_functions.h"
#include "tiles.h"

namespace {

template <class T>
struct So3BasisScratch {
  So3Tokens<T> tokens;
  Tile tile;
  // Forward, of the item: sums over the tiles up to now.
  Softmax<T>* softmax;  // (H, rows)
  T* out;               // (H, rows, outputs, D), relative to the maximum up to now
  // Of a tile's rows and pairs, kTilePairs of either.
  double* vector;           // (rows, 4): direction, distance
  T *row_harmonics, *harmonics;  // (rows, filters), (pairs, filters)
  double *function, *function_slope;  // (K), of one row
  T *phi, *slope;           // (rows, K)
  Bands bands;              // of phi
  T *rho, *grad_rho;        // (degrees, rows, K); rho is phi without scaling
  T *a, *g, *grad_a, *grad_g;  // (rows, irreps * D), (degrees, rows, D), of one head
  T* packed_rho;            // (degrees) packed as transposed left factors
  T* wide_y;                // (pairs, kMaxFilters, W): dY, lane by lane
  T* delta;                 // (H, rows of the item) sums of out dout over the channels of a head
  // Of one receiver in a tile.
  T* wide;                  // (kBlock + W, W): sums over the channels of a head, lane by lane
  T* weighted;              // (kBlock, W): p g of a channel block
  T *p, *dp;                // (kBlock)
  T *product, *z;           // (filters, values, W): S, and its gradient
};

template <class T, int W>
int64_t lay_out(So3BasisScratch<T>& s, char* base, const Problem& problem, const Item& item, const So3Shape& shape,
                const So3Basis& basis, bool backward) {
  Carver carver(base);
  const int64_t D = problem.dim, K = basis.count, P = kTilePairs, J = shape.degrees;
  const int64_t product = shape.filters * shape.values * W;
  s = {};
  lay_out(s.tokens, carver, problem, item, shape, backward);
  lay_out(s.tile, carver, item);
  s.vector = carver.take<double>(P * 4);
  s.row_harmonics = carver.take<T>(shape.filters * P);
  s.harmonics = carver.take<T>(shape.filters * P);
  s.function = carver.take<double>(K);
  s.phi = carver.take<T>(P * K);
  lay_out<T>(s.bands, carver, P, K);
  s.rho = basis.scaling ? carver.take<T>(J * P * K) : s.phi;
  s.a = carver.take<T>(P * shape.irreps * D);
  s.g = carver.take<T>(J * P * D);
  s.wide = carver.take<T>((kBlock + W) * W);
  s.weighted = carver.take<T>(kBlock * W);
  s.p = carver.take<T>(kBlock);
  s.product = carver.take<T>(product);
  if (!backward) {
    s.softmax = carver.take<Softmax<T>>(problem.heads * item.rows);
    s.out = carver.take<T>(item.rows * shape.outputs * problem.channels);
    return carver.used();
  }
  s.function_slope = carver.take<double>(K);
  s.slope = carver.take<T>(P * K);
  s.grad_rho = carver.take<T>(J * P * K);
  s.grad_a = carver.take<T>(P * shape.irreps * D + GemmShape<T>::kPanel);
  s.grad_g = carver.take<T>(J * P * D + GemmShape<T>::kPanel);
  s.packed_rho = carver.take<T>(J * packed_transpose_size<T>(P, K));
  s.wide_y = carver.take<T>(P * kMaxFilters * W);
  s.delta = carver.take<T>(problem.heads * item.rows);
  s.dp = carver.take<T>(kBlock);
  s.z = carver.take<T>(product);
  return carver.used();
}

inline double largest(int64_t count, const double* x) {
  constexpr int W = kRegisterBytes / sizeof(double);
  Vec<double, W> most{};
  int64_t i = 0;
  for (; i + W <= count; i += W) {
    const Vec<double, W> y = load<double, W>(x + i), size = y < 0 ? -y : y;
    most = size > most ? size : most;
  }
  double result = max_lanes<double, W>(most);
  for (; i < count; ++i) result = std::fabs(x[i]) > result ? std::fabs(x[i]) : result;
  return result;
}

// phi of row i from the functions in double, and its band. What is left out beside the band is together less than half
// a unit in the last place of the largest function. Slopes can differ from 0 one element behind the band; those of
// Bessel functions, which oscillate, everywhere.
template <class T>
void store_band(const So3BasisScratch<T>& s, int64_t i, const So3Basis& basis) {
  const int64_t K = basis.count;
  const double* f = s.function;
  const double most = largest(K, f);
  const double least = most * static_cast<double>(std::numeric_limits<T>::epsilon()) / (4 * static_cast<double>(K));
  const bool band = basis.kind != Basis::Bessel;
  int64_t begin = 0, end = K;
  while (band && begin < K && std::fabs(f[begin]) <= least) ++begin;
  while (band && end > begin && std::fabs(f[end - 1]) <= least) --end;
  s.bands.begin[i] = static_cast<int32_t>(begin);
  s.bands.end[i] = static_cast<int32_t>(end);
  T* phi = s.phi + i * K;
  zero(phi, begin);
  for (int64_t k = begin; k < end; ++k) phi[k] = static_cast<T>(f[k]);
  zero(phi + end, K - end);
}

// Distances, phi (its bands and its slope) and rho of a tile's rows.
template <class T>
void radial_rows(const So3BasisScratch<T>& s, const Tile& tile, const Item& item, const So3Shape& shape,
                 const So3Basis& basis, bool slope) {
  const int64_t K = basis.count;
  const T* positions = static_cast<const T*>(shape.positions) + item.token * 3;
  for (int64_t i = 0; i < tile.rows; ++i) {
    direction(positions + tile.from[i] * 3, positions + tile.to[i] * 3, s.vector + i * 4);
    radial_functions(basis, s.vector[i * 4 + 3], s.function, slope ? s.function_slope : nullptr);
    store_band(s, i, basis);
    for (int64_t k = 0; slope && k < K; ++k) s.slope[i * K + k] = static_cast<T>(s.function_slope[k]);
    if (!basis.scaling) continue;
    const T *phi = s.phi + i * K,
            *scaling = static_cast<const T*>(basis.scaling) + basis.row[tile.table[i]] * shape.degrees * K;
    for (int64_t J = 0; J < shape.degrees; ++J) {
      T* rho = s.rho + (J * kTilePairs + i) * K;
      for (int64_t k = 0; k < K; ++k) rho[k] = phi[k] * scaling[J * K + k];
    }
  }
  sort_bands<T>(s.bands, tile.rows, K);
}

// Harmonics of the rows, and from them those of the pairs: Y_J(-u) = (-1)^J Y_J(u).
template <class T>
void pair_harmonics(const So3BasisScratch<T>& s, const Tile& tile, const So3Shape& shape) {
  for (int64_t i = 0; i < tile.rows; ++i)
    harmonics_of(s.vector + i * 4, shape.filters, s.row_harmonics + i * shape.filters, 1);
  const int64_t filters = shape.filters;
  for (int64_t e = 0; e < tile.pairs; ++e) {
    const T* from = s.row_harmonics + tile.row[e] * filters;
    T *to = s.harmonics + e * filters, sign = tile.reversed[e] ? T(-1) : T(1);
    for (int64_t f = 0; f < filters; ++f) to[f] = f >= 1 && f < 4 ? sign * from[f] : from[f];
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
  banded_product<T>(s.bands, tile.rows, A, K, rho_of(s, basis, 0),
                    static_cast<const T*>(basis.packed_a) + h * packed_size<T>(K, A), s.a);
}

template <class T>
void project_g(const So3BasisScratch<T>& s, const Tile& tile, const Problem& problem, const So3Shape& shape,
               const So3Basis& basis, int64_t h) {
  const int64_t K = basis.count, D = problem.dim;
  for (int64_t J = 0; J < shape.degrees; ++J)
    banded_product<T>(s.bands, tile.rows, D, K, rho_of(s, basis, J),
                      static_cast<const T*>(basis.packed_g) + (h * shape.degrees + J) * packed_size<T>(K, D),
                      s.g + J * kTilePairs * D);
}

// a and g of a tile and head, or their gradients.
template <class T>
Radial<T> tile_a(T* a, const Problem& problem, const So3Shape& shape) {
  return {a, shape.irreps * problem.dim, problem.dim};
}

template <class T>
Radial<T> tile_g(T* g, const Problem& problem, int64_t channel) {
  return {g ? g + channel : nullptr, problem.dim, kTilePairs * problem.dim};
}

// Logits of one head and receiver.
template <class T, int W>
void tile_logits(const So3BasisScratch<T>& s, const Problem& problem, const Item& item, const So3Shape& shape,
                 const TileReceiver& x, const Senders& list, int64_t h, T* logit) {
  const int64_t D = problem.dim, size = shape.qk * D;
  wide_logits<T, W, false>(shape, 1, D, s.tokens.query + (h * item.rows + x.number) * size, 0,
                    s.tokens.key + h * item.size * size, 0, list, tile_a(s.a, problem, shape), s.wide, 0);
  sum_rows<T, W>(x.count, s.wide, logit);
}

template <class T, int W>
void so3_basis_forward_item(So3BasisScratch<T>& s, const Problem& problem, const Item& item, const ItemBias& bias,
                            const So3Shape& shape, const So3Basis& basis) {
  const int64_t C = problem.channels, D = problem.dim, H = problem.heads, size = shape.outputs * D;
  pack_tokens<T, W>(s.tokens, problem, item, shape);
  zero(s.out, item.rows * shape.outputs * C);
  for (int64_t i = 0; i < H * item.rows; ++i) s.softmax[i] = {-INFINITY, T(0)};
  for_tiles(s.tile, item, [&](const Tile& tile) {
    radial_rows(s, tile, item, shape, basis, false);
    pair_harmonics(s, tile, shape);
    for (int64_t h = 0; h < H; ++h) {
      project_a(s, tile, problem, shape, basis, h);
      project_g(s, tile, problem, shape, basis, h);
      for (int64_t i = 0; i < tile.receivers; ++i) {
        const TileReceiver& x = tile.receiver[i];
        const Senders list{x.count, tile.sender + x.first, tile.row + x.first};
        const int64_t padded = padded_count(x.count);
        tile_logits<T, W>(s, problem, item, shape, x, list, h, s.p);
        if (bias.bias)
          add_row(s.p, static_cast<const T*>(bias.bias) + (x.number * H + h) * item.stride + x.slot, x.count);
        for (int64_t e = x.count; e < padded; ++e) s.p[e] = s.p[x.count - 1];
        Softmax<T>& sums = s.softmax[h * item.rows + x.number];
        const Softmax<T> here = softmax_row<T>(x.count, padded, sums.max, s.p);
        if (here.max == -INFINITY) continue;
        const T factor = std::exp(sums.max - here.max);  // 0 in the first tile
        sums = {here.max, sums.sum * factor + here.sum};
        T* out = s.out + (h * item.rows + x.number) * size;
        for (int64_t d = 0; d < D; d += W) {
          const int64_t channel = h * D + d;
          products<T, W>(shape, s.tokens.value + channel * item.size * shape.values, list,
                         s.harmonics + x.first * shape.filters, s.p, tile_g(s.g, problem, d), s.weighted, s.product);
          add_couplings<T, W>(shape, D, s.tokens.coupling + channel * shape.couplings, s.product, factor, out + d);
        }
      }
    }
  });
  T *out = static_cast<T*>(problem.out) + (item.token + item.first) * shape.outputs * C,
    *lse = static_cast<T*>(problem.lse) + (item.token + item.first) * H;
  for (int64_t h = 0; h < H; ++h) {
    for (int64_t r = 0; r < item.rows; ++r) {
      const Softmax<T>& sums = s.softmax[h * item.rows + r];
      const bool none = sums.max == -INFINITY;
      lse[r * H + h] = none ? -INFINITY : sums.max + std::log(sums.sum);
      unpack_channels<T, W>(shape.outputs, D, D, none ? T(0) : T(1) / sums.sum, s.out + (h * item.rows + r) * size,
                            C, out + r * shape.outputs * C + h * D);
    }
  }
}

// From the gradients of a and g of a head to those of the weights and of rho; those of rho begin with head 0.
template <class T>
void project_backward(const So3BasisScratch<T>& s, const Tile& tile, const Problem& problem, const So3Shape& shape,
                      const So3Basis& basis, int64_t h, bool rho) {
  const int64_t K = basis.count, D = problem.dim, n = tile.rows, A = shape.irreps * D;
  const int64_t packed = packed_transpose_size<T>(kTilePairs, K);
  const auto to_rho = [&](bool first, int64_t columns, const T* grad, const void* weights, int64_t part, T* to) {
    const T* weight = static_cast<const T*>(weights) + part * packed_size<T>(columns, K);
    first ? product_in_bands<T, false>(s.bands, n, columns, K, grad, weight, to)
          : product_in_bands<T, true>(s.bands, n, columns, K, grad, weight, to);
  };
  if (basis.grad_a)
    banded_transposed<T>(s.bands, n, A, K, s.packed_rho, s.grad_a, static_cast<T*>(basis.grad_a) + h * K * A);
  if (rho) to_rho(h == 0, A, s.grad_a, basis.packed_at, h, s.grad_rho);
  for (int64_t J = 0; J < shape.degrees; ++J) {
    const T* grad = s.grad_g + J * kTilePairs * D;
    const int64_t part = h * shape.degrees + J;
    if (basis.grad_g)
      banded_transposed<T>(s.bands, n, D, K, s.packed_rho + (basis.scaling ? J * packed : 0), grad,
                           static_cast<T*>(basis.grad_g) + part * K * D);
    if (rho) to_rho(h == 0 && J > 0, D, grad, basis.packed_gt, part, s.grad_rho + J * kTilePairs * K);
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
    const int64_t begin = s.bands.begin[i], end = s.bands.end[i] < K ? s.bands.end[i] + 1 : K;  // of the slopes
    T radial = 0;
    for (int64_t J = 0; J < shape.degrees; ++J) {
      T* grad = s.grad_rho + (J * kTilePairs + i) * K;
      for (int64_t k = begin; to && k < end; ++k) to[J * K + k] += grad[k] * phi[k];
      if (!positions) continue;
      for (int64_t k = begin; scaling && k < end; ++k) grad[k] *= scaling[J * K + k];
      radial += dot(end - begin, grad + begin, slope + begin);
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
  const bool to_radial = rho || weights;
  T *grad_a = to_radial ? s.grad_a : nullptr, *grad_g = to_radial ? s.grad_g : nullptr;
  const int64_t token = item.token + item.first;
  const T *out = static_cast<const T*>(problem.out) + token * shape.outputs * C,
          *grad_out = static_cast<const T*>(problem.grad_out) + token * shape.outputs * C,
          *lse = static_cast<const T*>(problem.lse) + token * H;
  T *wide_y = grad.positions ? s.wide_y : nullptr, *positions = static_cast<T*>(grad.positions);
  pack_tokens<T, W>(s.tokens, problem, item, shape);
  if (positions) zero(positions, item.size * 3);
  for (int64_t h = 0; h < H; ++h) {
    for (int64_t r = 0; r < item.rows; ++r) {
      const int64_t at = r * shape.outputs * C + h * D;
      T delta = 0;
      for (int64_t m = 0; m < shape.outputs; ++m) delta += dot(D, out + at + m * C, grad_out + at + m * C);
      s.delta[h * item.rows + r] = delta;
    }
  }

  // One head of one receiver in a tile.
  const auto receiver = [&](const Tile& tile, const TileReceiver& x, int64_t h) {
    const Senders list{x.count, tile.sender + x.first, tile.row + x.first};
    const T *own_grad_out = grad_out + x.number * shape.outputs * C, delta = s.delta[h * item.rows + x.number];
    const int64_t at_slot = (x.number * H + h) * stride + x.slot;
    tile_logits<T, W>(s, problem, item, shape, x, list, h, s.p);
    if (bias.bias) add_row(s.p, static_cast<const T*>(bias.bias) + at_slot, x.count);
    normalized(x.count, padded_count(x.count), lse[x.number * H + h], s.p);
    const T* harmonics = s.harmonics + x.first * shape.filters;
    for (int64_t b = 0; b < D / W; ++b) {
      const int64_t channel = h * D + b * W, at = channel * item.size * shape.values;
      double* grad_weight = grad.path_weight ? grad.path_weight + channel : nullptr;
      if (grad_weight)
        products<T, W>(shape, s.tokens.value + at, list, harmonics, s.p, tile_g(s.g, problem, b * W), s.weighted,
                       s.product);
      coupling_gradients<T, W>(shape, s.tokens, C, static_cast<const T*>(shape.path_weight) + channel,
                               own_grad_out + channel, s.product, s.z, grad_weight);
      value_gradients<T, W, true>(shape, s.z, harmonics, s.p, s.tokens.value + at, s.tokens.grad_value + at, list,
                                  tile_g(s.g, problem, b * W), tile_g(grad_g, problem, b * W), b == 0, s.wide,
                                  wide_y ? wide_y + x.first * kMaxFilters * W : nullptr);
    }
    sum_rows<T, W>(x.count, s.wide, s.dp);
    for (int64_t e = 0; e < x.count; ++e) s.dp[e] = s.p[e] * (s.dp[e] - delta);
    if (bias.grad) copy_row(static_cast<T*>(bias.grad) + at_slot, s.dp, x.count);
    const int64_t own = (h * item.rows + x.number) * shape.qk * D, keys = h * item.size * shape.qk * D;
    logit_gradients<T, W, true>(shape, 1, D, s.dp, 0, s.tokens.query + own, s.tokens.grad_query + own, 0,
                                s.tokens.key + keys, s.tokens.grad_key + keys, 0, list, tile_a(s.a, problem, shape),
                                tile_a(grad_a, problem, shape));
  };

  for_tiles(s.tile, item, [&](const Tile& tile) {
    radial_rows(s, tile, item, shape, basis, positions != nullptr);
    pair_harmonics(s, tile, shape);
    if (wide_y) zero(wide_y, tile.pairs * kMaxFilters * W);
    if (weights) find_ranges<T>(s.bands, tile.rows, K);
    for (int64_t J = 0; J < shape.degrees; ++J) {
      if (weights && (J == 0 || basis.scaling))
        pack_sorted<T>(s.bands, tile.rows, K, rho_of(s, basis, J),
                                            s.packed_rho + J * packed_transpose_size<T>(kTilePairs, K));
    }
    for (int64_t h = 0; h < H; ++h) {
      project_a(s, tile, problem, shape, basis, h);
      project_g(s, tile, problem, shape, basis, h);
      if (to_radial) {
        zero(s.grad_a, tile.rows * shape.irreps * D);
        for (int64_t J = 0; J < shape.degrees; ++J) zero(s.grad_g + J * kTilePairs * D, tile.rows * D);
      }
      for (int64_t i = 0; i < tile.receivers; ++i) receiver(tile, tile.receiver[i], h);
      if (to_radial) project_backward(s, tile, problem, shape, basis, h, rho);
    }
    if (rho) radial_backward<T, W>(s, tile, shape, basis, positions);
  });
  unpack_gradients<T, W>(s.tokens, problem, item, shape, grad);
}

}  // namespace
