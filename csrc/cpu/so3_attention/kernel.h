// so3_attention of one receiver after the other. Included by the kernel files only.
//
//   logit_e = scale sum_{x, m in x, c} q_mc k_emc a_exc                  (e: allowed senders, c: channels of a head)
//   S_{F,n} = sum_e p_e Y_eF g_e,J(F) v_en                               (F: filter components, n: value components)
//   out_m   = sum over couplings (path, F, n, m) of w_path coefficient S_{F,n}
//
// The Clebsch-Gordan sums stand outside of the loop over senders. Channels are taken in blocks of one vector: K and V of
// the molecule are packed as (C / W, size, M, W), so that a block stays in the first-level cache while it is used.
// Backward, with Z_{F,n} = sum over couplings of w coefficient dout_m:
//   T_Jn = sum_{F in J} Y_F Z_{F,n},   R_J = sum_n T_Jn v_n,   dp = sum_cJ g_J R_J,   dg_J = p R_J,
//   dv_n += p sum_J g_J T_Jn,   dY_F = p sum_c g_J sum_n Z_{F,n} v_n,   dw_path += coefficient S_{F,n} dout_m,
//   ds = p (dp - delta),   da_x = scale ds sum_m q_m k_m,   dq_m += scale ds a_x k_m,   dk_m += scale ds a_x q_m.
#pragma once

#include "../../so3_tables.h"
#include "../convert_rows.h"
#include "../gemm.h"
#include "basis.h"

namespace {

constexpr int kMaxFilters = 9, kMaxComponents = 18, kMaxDegrees = 3;

// Rows of radial weights: a_e,x of one head at a + row[e] * a_row + x * a_step, g likewise; or of their gradients.
template <class T>
struct Radial {
  T *a, *g;
  const int32_t* row;
  int64_t a_row, a_step, g_row, g_step;
};

template <class T>
struct So3Scratch {
  T *key, *value, *grad_key, *grad_value;  // (C / W, size, M, W)
  // Of one receiver; `stride` slots.
  double* vector;     // (stride, 4): direction, distance
  T* harmonics;       // (filters, stride)
  T* weighted;        // (filters, stride): p Y
  T* wide;            // (stride, W): sums over the channels of a head, lane by lane
  T *p, *dp;          // (stride)
  T* delta;           // (H)
  T* product;         // (filters, values, W): S, and Z behind it
  T* sum_filters;     // (filters, stride, W): dY, lane by lane
  T* grad_harmonics;  // (filters, stride)
  // Dense form in half precision: the rows of all heads, and their gradients.
  T *a, *g, *grad_a, *grad_g;
  // Basis form. a (stride, irreps * D), g (degrees, stride, D) of one head, and gradients.
  T *phi, *slope;            // (stride, K)
  T *rho, *grad_rho;         // (degrees, stride, K)
  T *packed_rho;             // (degrees) packed as transposed left factors
  T *packed_grad;            // a gradient of a or g packed as a right factor
  int32_t* identity;         // (stride)
};

template <class T, int W>
int64_t lay_out(So3Scratch<T>& s, char* base, const Problem& problem, const Item& item, const So3Shape& shape,
                const So3Rows* rows, const So3Basis* basis, bool backward) {
  Carver carver(base);
  const int64_t C = problem.channels, D = problem.dim, n = item.stride, K = basis ? basis->count : 0;
  s = {};
  s.key = carver.take<T>(item.size * shape.qk * C);
  s.value = carver.take<T>(item.size * shape.values * C);
  s.vector = carver.take<double>(n * 4);
  s.harmonics = carver.take<T>(shape.filters * n);
  s.weighted = carver.take<T>(shape.filters * n);
  s.wide = carver.take<T>(n * W);
  s.p = carver.take<T>(n);
  s.product = carver.take<T>(2 * shape.filters * shape.values * W);
  s.identity = carver.take<int32_t>(n);
  const bool widened = rows && rows->type != own_type<T>();
  if (widened) {
    s.a = carver.take<T>(n * shape.irreps * C);
    s.g = carver.take<T>(n * shape.degrees * C);
  }
  if (basis) {
    s.a = carver.take<T>(n * shape.irreps * D);
    s.g = carver.take<T>(n * shape.degrees * D);
    s.phi = carver.take<T>(n * K);
    s.rho = carver.take<T>(basis->scaling ? shape.degrees * n * K : 0);
  }
  if (!backward) return carver.used();
  s.grad_key = carver.take<T>(item.size * shape.qk * C);
  s.grad_value = carver.take<T>(item.size * shape.values * C);
  s.dp = carver.take<T>(n);
  s.delta = carver.take<T>(problem.heads);
  s.sum_filters = carver.take<T>(shape.filters * n * W);
  s.grad_harmonics = carver.take<T>(shape.filters * n);
  if (widened) {
    s.grad_a = carver.take<T>(n * shape.irreps * C);
    s.grad_g = carver.take<T>(n * shape.degrees * C);
  }
  if (basis) {
    s.grad_a = carver.take<T>(n * shape.irreps * D);
    s.grad_g = carver.take<T>(n * shape.degrees * D);
    s.slope = carver.take<T>(n * K);
    s.grad_rho = carver.take<T>(shape.degrees * n * K);
    s.packed_rho = carver.take<T>(shape.degrees * packed_transpose_size<T>(n, K));
    s.packed_grad = carver.take<T>(packed_size<T>(n, shape.irreps * D > D ? shape.irreps * D : D));
  }
  return carver.used();
}

// (size, M, C) rows -> (C / W, size, M, W), or back.
template <class T, int W>
void pack_components(int64_t rows, int64_t C, const T* from, T* to) {
  for (int64_t b = 0; b < C / W; ++b) {
    for (int64_t r = 0; r < rows; ++r) store<T, W>(to + (b * rows + r) * W, load<T, W>(from + r * C + b * W));
  }
}

template <class T, int W>
void unpack_components(int64_t rows, int64_t C, const T* from, T* to) {
  for (int64_t b = 0; b < C / W; ++b) {
    for (int64_t r = 0; r < rows; ++r) store<T, W>(to + r * C + b * W, load<T, W>(from + (b * rows + r) * W));
  }
}

// ---- geometry ----

// Directions, distances and harmonics from receiver to senders; slots behind count are not written.
template <class T>
void geometry(const So3Scratch<T>& s, const Item& item, const So3Shape& shape, int64_t r) {
  const T* positions = static_cast<const T*>(shape.positions) + item.token * 3;
  const T* own = positions + (item.first + r) * 3;
  const int32_t* sender = item.sender + r * item.stride;
  for (int64_t e = 0; e < item.count[r]; ++e) {
    const T* other = positions + sender[e] * 3;
    const double x = static_cast<double>(other[0]) - static_cast<double>(own[0]);
    const double y = static_cast<double>(other[1]) - static_cast<double>(own[1]);
    const double z = static_cast<double>(other[2]) - static_cast<double>(own[2]);
    const double distance = std::sqrt(x * x + y * y + z * z), inverse = distance > 0 ? 1 / distance : 0.0;
    const double u[3] = {x * inverse, y * inverse, z * inverse};
    double* v = s.vector + e * 4;
    v[0] = u[0], v[1] = u[1], v[2] = u[2], v[3] = distance;
    const double power[3][3] = {{1, u[0], u[0] * u[0]}, {1, u[1], u[1] * u[1]}, {1, u[2], u[2] * u[2]}};
    for (int64_t f = 0; f < shape.filters; ++f) {
      double sum = 0;
      for (int t = kHarmonicOffset[f]; t < kHarmonicOffset[f + 1]; ++t)
        sum += kHarmonicCoefficient[t] * power[0][kHarmonicX[t]] * power[1][kHarmonicY[t]] * power[2][kHarmonicZ[t]];
      s.harmonics[f * item.stride + e] = static_cast<T>(sum);
    }
  }
}

// Adds to the gradients of the positions what the gradients of the harmonics (grad_harmonics) and of the distance
// (slope_sum (count), or null) say. Y_J is homogeneous of degree J: dY/dr = (grad Y(u) - J Y u) / distance.
template <class T>
void geometry_backward(const So3Scratch<T>& s, const Item& item, const So3Shape& shape, int64_t r, const T* slope_sum,
                       T* grad) {
  const int32_t* sender = item.sender + r * item.stride;
  double own[3] = {0, 0, 0};
  for (int64_t e = 0; e < item.count[r]; ++e) {
    const double* u = s.vector + e * 4;
    if (!(u[3] > 0)) continue;
    const double inverse = 1 / u[3];
    const double power[3][3] = {{1, u[0], u[0] * u[0]}, {1, u[1], u[1] * u[1]}, {1, u[2], u[2] * u[2]}};
    double d[3] = {0, 0, 0}, along = 0;
    for (int64_t f = 1; f < shape.filters; ++f) {
      const double df = static_cast<double>(s.grad_harmonics[f * item.stride + e]);
      const int degree = f < 4 ? 1 : 2;
      along += df * degree * static_cast<double>(s.harmonics[f * item.stride + e]);
      for (int t = kHarmonicOffset[f]; t < kHarmonicOffset[f + 1]; ++t) {
        const int px = kHarmonicX[t], py = kHarmonicY[t], pz = kHarmonicZ[t];
        const double c = df * kHarmonicCoefficient[t];
        if (px) d[0] += c * px * power[0][px - 1] * power[1][py] * power[2][pz];
        if (py) d[1] += c * py * power[0][px] * power[1][py - 1] * power[2][pz];
        if (pz) d[2] += c * pz * power[0][px] * power[1][py] * power[2][pz - 1];
      }
    }
    const double radial = slope_sum ? static_cast<double>(slope_sum[e]) : 0.0;
    for (int x = 0; x < 3; ++x) {
      const double g = (d[x] - along * u[x]) * inverse + radial * u[x];
      grad[sender[e] * 3 + x] += static_cast<T>(g);
      own[x] += g;
    }
  }
  for (int x = 0; x < 3; ++x) grad[(item.first + r) * 3 + x] -= static_cast<T>(own[x]);
}

// ---- radial weights ----

// phi, rho (and slope) of a receiver.
template <class T>
void radial_rows(const So3Scratch<T>& s, const Item& item, const So3Shape& shape, const So3Basis& basis, int64_t r) {
  const int64_t K = basis.count, n = item.count[r];
  for (int64_t e = 0; e < n; ++e) {
    radial_functions<T>(basis.kind, K, basis.cutoff, s.vector[e * 4 + 3], s.phi + e * K,
                        s.slope ? s.slope + e * K : nullptr);
    if (!basis.scaling) continue;
    const int64_t slot = r * item.stride + e, row = basis.row[item.run_table[r * item.stride + item.run[slot]]];
    const T* scaling = static_cast<const T*>(basis.scaling) + row * shape.degrees * K;
    for (int64_t J = 0; J < shape.degrees; ++J) {
      T* rho = s.rho + (J * item.stride + e) * K;
      for (int64_t k = 0; k < K; ++k) rho[k] = s.phi[e * K + k] * scaling[J * K + k];
    }
  }
}

template <class T>
const T* rho_of(const So3Scratch<T>& s, const Item& item, const So3Basis& basis, int64_t J) {
  return basis.scaling ? s.rho + J * item.stride * basis.count : s.phi;
}

// a, and g if wanted, of one head of a receiver by gemm.h.
template <class T>
void project(const So3Scratch<T>& s, const Problem& problem, const Item& item, const So3Shape& shape,
             const So3Basis& basis, int64_t r, int64_t h, bool values) {
  const int64_t K = basis.count, D = problem.dim, n = item.count[r], A = shape.irreps * D;
  if (!values) {
    zero(s.a, n * A);
    gemm<T>(n, A, K, rho_of(s, item, basis, 0), static_cast<const T*>(basis.packed_a) + h * packed_size<T>(K, A), s.a);
    return;
  }
  for (int64_t J = 0; J < shape.degrees; ++J) {
    T* g = s.g + J * item.stride * D;
    zero(g, n * D);
    gemm<T>(n, D, K, rho_of(s, item, basis, J),
            static_cast<const T*>(basis.packed_g) + (h * shape.degrees + J) * packed_size<T>(K, D), g);
  }
}

// Radial weights of a receiver's head; in the dense form without conversion they are read in place.
template <class T>
Radial<T> radial_of(T* a, T* g, const So3Scratch<T>& s, const Problem& problem, const Item& item, const So3Shape& shape,
                    const So3Rows* rows, bool in_place, int64_t r, int64_t h) {
  const int64_t C = problem.channels, D = problem.dim;
  if (!rows) return {a, g, s.identity, shape.irreps * D, D, D, item.stride * D};
  if (!in_place) return {a + h * D, g + h * D, s.identity, shape.irreps * C, C, shape.degrees * C, C};
  const int64_t pair = item.pair_row + r * item.pair_step;
  return {a ? a + pair * shape.irreps * C + h * D : nullptr, g ? g + pair * shape.degrees * C + h * D : nullptr,
          item.sender + r * item.stride, shape.irreps * C, C, shape.degrees * C, C};
}

template <class T>
void widen_rows(const So3Scratch<T>& s, const Problem& problem, const Item& item, const So3Shape& shape,
                const So3Rows& rows, int64_t r) {
  const int64_t a = shape.irreps * problem.channels, g = shape.degrees * problem.channels;
  for (int64_t e = 0; e < item.count[r]; ++e) {
    const int64_t pair = item.pair_row + r * item.pair_step + item.sender[r * item.stride + e];
    read_row(s.a + e * a, rows.a, rows.type, pair, a);
    read_row(s.g + e * g, rows.g, rows.type, pair, g);
  }
}

// ---- one head ----

// logit (padded) of a head: sums lane by lane over its channel blocks, then over the lanes.
template <class T, int W>
DITKERNELS_LOOP void head_logits(const Problem& problem, const Item& item, const So3Shape& shape, const T* key,
                                 const T* query, const Radial<T>& radial, int64_t r, int64_t h, T* wide, T* logit) {
  const int64_t D = problem.dim, C = problem.channels, n = item.count[r], M = shape.qk;
  const int32_t* sender = item.sender + r * item.stride;
  const T scale = static_cast<T>(problem.scale);
  for (int64_t b = 0; b < D / W; ++b) {
    Vec<T, W> q[kMaxComponents];
    for (int64_t m = 0; m < M; ++m) q[m] = load<T, W>(query + m * C + h * D + b * W) * scale;
    const T* k_block = key + (h * (D / W) + b) * item.size * M * W;
    for (int64_t e = 0; e < n; ++e) {
      const T *k = k_block + sender[e] * M * W, *a = radial.a + radial.row[e] * radial.a_row + b * W;
      Vec<T, W> sum = b ? load<T, W>(wide + e * W) : Vec<T, W>{};
      for (int64_t x = 0, m = 0; x < shape.irreps; ++x) {
        Vec<T, W> part{};
        for (const int64_t end = shape.irrep_start[x + 1]; m < end; ++m) part += q[m] * load<T, W>(k + m * W);
        sum += part * load<T, W>(a + x * radial.a_step);
      }
      store<T, W>(wide + e * W, sum);
    }
  }
  for (int64_t e = 0; e < n; ++e) logit[e] = sum_lanes<T, W>(load<T, W>(wide + e * W));
  for (int64_t e = n; e % kSlotPadding; ++e) logit[e] = logit[e - 1];
}

// S_{F,n} of N value components from `first` on, for one channel block.
template <class T, int W, int N>
DITKERNELS_LOOP void block_products(int64_t count, int64_t stride, const So3Shape& shape, const T* v_block,
                                    const int32_t* sender, const T* weighted, const Radial<T>& radial, int64_t channel,
                                    int64_t first, T* product) {
  const int64_t M = shape.values;
  for (int64_t J = 0, f = 0; J < shape.degrees; ++J) {
    const T* g_base = radial.g + J * radial.g_step + channel;
    for (const int64_t end = (J + 1) * (J + 1); f < end; ++f) {
      const T* y = weighted + f * stride;
      Vec<T, W> sum[N];
      unroll<N>([&](auto i) DITKERNELS_UNROLLED { sum[i] = Vec<T, W>{}; });
      for (int64_t e = 0; e < count; ++e) {
        const Vec<T, W> g = load<T, W>(g_base + radial.row[e] * radial.g_row) * y[e];
        const T* v = v_block + (sender[e] * M + first) * W;
        unroll<N>([&](auto i) DITKERNELS_UNROLLED { sum[i] += g * load<T, W>(v + i * W); });
      }
      unroll<N>([&](auto i) DITKERNELS_UNROLLED { store<T, W>(product + (f * M + first + i) * W, sum[i]); });
    }
  }
}

// Calls f(Constant<N>, first) for groups of components that fit the registers.
template <class F>
DITKERNELS_INLINE void for_components(int64_t count, F&& f) {
  int64_t first = 0;
  while (count - first >= 9) f(Constant<9>{}, first), first += 9;
  if (count - first >= 8) f(Constant<8>{}, first), first += 8;
  if (count - first >= 4) f(Constant<4>{}, first), first += 4;
  if (count - first >= 3) f(Constant<3>{}, first), first += 3;
  while (count - first >= 1) f(Constant<1>{}, first), first += 1;
}

template <class T, int W>
void products(int64_t count, int64_t stride, const So3Shape& shape, const T* v_block, const int32_t* sender,
              const T* weighted, const Radial<T>& radial, int64_t channel, T* product) {
  for_components(shape.values, [&](auto n, int64_t first) {
    block_products<T, W, decltype(n)::kValue>(count, stride, shape, v_block, sender, weighted, radial, channel, first,
                                              product);
  });
}

// p from the logits of a head in place; false if no sender is left.
template <class T>
bool normalize(int64_t count, int64_t padded, T* logit, T* lse) {
  if (count == 0) {
    *lse = -INFINITY;
    return false;
  }
  const Softmax<T> part = softmax_row<T>(count, padded, -INFINITY, logit);
  *lse = part.max == -INFINITY ? -INFINITY : part.max + std::log(part.sum);
  if (part.max == -INFINITY) return false;
  const T factor = T(1) / part.sum;
  for (int64_t e = 0; e < count; ++e) logit[e] *= factor;
  return true;
}

template <class T>
void weight_harmonics(int64_t count, int64_t stride, int64_t filters, const T* harmonics, const T* p, T* weighted) {
  for (int64_t f = 0; f < filters; ++f) {
    for (int64_t e = 0; e < count; ++e) weighted[f * stride + e] = harmonics[f * stride + e] * p[e];
  }
}

template <class T>
int64_t padded_count(const Item& item, int64_t r) {
  return (item.count[r] + kSlotPadding - 1) / kSlotPadding * kSlotPadding;
}

template <class T, int W>
void start_item(const So3Scratch<T>& s, const Problem& problem, const Item& item, const So3Shape& shape) {
  const int64_t C = problem.channels;
  pack_components<T, W>(item.size * shape.qk, C, static_cast<const T*>(problem.key) + item.token * shape.qk * C, s.key);
  pack_components<T, W>(item.size * shape.values, C,
                        static_cast<const T*>(problem.value) + item.token * shape.values * C, s.value);
  for (int64_t e = 0; e < item.stride; ++e) s.identity[e] = static_cast<int32_t>(e);
}

// ---- forward ----

template <class T, int W>
void so3_forward_item(const So3Scratch<T>& s, const Problem& problem, const Item& item, const ItemBias& bias,
                      const So3Shape& shape, const So3Rows* rows, const So3Basis* basis) {
  const int64_t C = problem.channels, D = problem.dim, H = problem.heads, stride = item.stride;
  const bool in_place = rows && rows->type == own_type<T>();
  T *a = in_place ? static_cast<T*>(const_cast<void*>(rows->a)) : s.a,
    *g = in_place ? static_cast<T*>(const_cast<void*>(rows->g)) : s.g;
  start_item<T, W>(s, problem, item, shape);
  for (int64_t r = 0; r < item.rows; ++r) {
    const int64_t token = item.token + item.first + r, n = item.count[r], padded = padded_count<T>(item, r);
    const int32_t* sender = item.sender + r * stride;
    const T* query = static_cast<const T*>(problem.query) + token * shape.qk * C;
    T* out = static_cast<T*>(problem.out) + token * shape.outputs * C;
    geometry(s, item, shape, r);
    if (basis) radial_rows(s, item, shape, *basis, r);
    if (rows && !in_place) widen_rows(s, problem, item, shape, *rows, r);
    zero(out, shape.outputs * C);
    for (int64_t h = 0; h < H; ++h) {
      T* lse = static_cast<T*>(problem.lse) + token * H + h;
      if (n > 0) {
        if (basis) project(s, problem, item, shape, *basis, r, h, false);
        const Radial<T> radial = radial_of(a, g, s, problem, item, shape, rows, in_place, r, h);
        head_logits<T, W>(problem, item, shape, s.key, query, radial, r, h, s.wide, s.p);
        if (bias.bias) add_row(s.p, static_cast<const T*>(bias.bias) + (r * H + h) * stride, padded);
      }
      if (!normalize(n, padded, s.p, lse)) continue;
      if (basis) project(s, problem, item, shape, *basis, r, h, true);
      const Radial<T> radial = radial_of(a, g, s, problem, item, shape, rows, in_place, r, h);
      weight_harmonics(n, stride, shape.filters, s.harmonics, s.p, s.weighted);
      for (int64_t b = 0; b < D / W; ++b) {
        const int64_t block = h * (D / W) + b, channel = h * D + b * W;
        products<T, W>(n, stride, shape, s.value + block * item.size * shape.values * W, sender, s.weighted, radial,
                       b * W, s.product);
        const T* weight = static_cast<const T*>(shape.path_weight) + channel;
        for (int64_t i = 0; i < shape.couplings; ++i) {
          const Coupling& c = shape.coupling[i];
          T* to = out + c.output * C + channel;
          store<T, W>(to, load<T, W>(to) + load<T, W>(weight + c.path * C) * static_cast<T>(c.coefficient) *
                                               load<T, W>(s.product + (c.filter * shape.values + c.value) * W));
        }
      }
    }
  }
}

// ---- backward ----

// The value side of one channel block and sender: adds to dp (wide), dY (sum_filters, if wanted), dv; writes dg if
// wanted. Z holds the gradients of S.
template <class T, int W, bool kHarmonics>
DITKERNELS_LOOP void value_gradients(int64_t count, int64_t stride, const So3Shape& shape, const T* z,
                                     const T* harmonics, const T* p, const T* v_block, T* grad_v_block,
                                     const int32_t* sender, const Radial<T>& radial, const Radial<T>& grad,
                                     int64_t channel, bool first, T* wide, T* sum_filters) {
  const int64_t M = shape.values, degrees = shape.degrees, filters = shape.filters;
  for (int64_t e = 0; e < count; ++e) {
    const T *v = v_block + sender[e] * M * W, *g_row = radial.g + radial.row[e] * radial.g_row + channel;
    T* dv = grad_v_block + sender[e] * M * W;
    Vec<T, W> g[kMaxDegrees], r[kMaxDegrees];
    T y[kMaxFilters];
    for (int64_t J = 0; J < degrees; ++J) {
      g[J] = load<T, W>(g_row + J * radial.g_step);
      r[J] = Vec<T, W>{};
    }
    for (int64_t f = 0; f < filters; ++f) y[f] = harmonics[f * stride + e];
    for (int64_t n = 0; n < M; ++n) {
      const Vec<T, W> vn = load<T, W>(v + n * W);
      Vec<T, W> back{};
      for (int64_t J = 0, f = 0; J < degrees; ++J) {
        Vec<T, W> t{};
        for (const int64_t end = (J + 1) * (J + 1); f < end; ++f) t += load<T, W>(z + (f * M + n) * W) * y[f];
        r[J] += t * vn;
        back += t * g[J];
      }
      store<T, W>(dv + n * W, load<T, W>(dv + n * W) + back * p[e]);
    }
    Vec<T, W> sum = first ? Vec<T, W>{} : load<T, W>(wide + e * W);
    for (int64_t J = 0; J < degrees; ++J) {
      sum += g[J] * r[J];
      if (grad.g) store<T, W>(grad.g + grad.row[e] * grad.g_row + J * grad.g_step + channel, r[J] * p[e]);
    }
    store<T, W>(wide + e * W, sum);
    if (!kHarmonics) continue;
    for (int64_t J = 1, f = 1; J < degrees; ++J) {
      const Vec<T, W> gp = g[J] * p[e];
      for (const int64_t end = (J + 1) * (J + 1); f < end; ++f) {
        Vec<T, W> t{};
        for (int64_t n = 0; n < M; ++n) t += load<T, W>(z + (f * M + n) * W) * load<T, W>(v + n * W);
        T* to = sum_filters + (f * stride + e) * W;
        store<T, W>(to, load<T, W>(to) + t * gp);
      }
    }
  }
}

// The logit side of one channel block, with ds in place of p: adds to dq (M, C) and dk; writes da if wanted.
template <class T, int W>
DITKERNELS_LOOP void logit_gradients(int64_t count, const So3Shape& shape, int64_t C, T scale, const T* ds,
                                     const T* query, const T* k_block, T* grad_k_block, const int32_t* sender,
                                     const Radial<T>& radial, const Radial<T>& grad, int64_t channel, T* grad_query) {
  const int64_t M = shape.qk;
  Vec<T, W> q[kMaxComponents], dq[kMaxComponents];
  for (int64_t m = 0; m < M; ++m) {
    q[m] = load<T, W>(query + m * C) * scale;
    dq[m] = Vec<T, W>{};
  }
  for (int64_t e = 0; e < count; ++e) {
    const T *k = k_block + sender[e] * M * W, *a = radial.a + radial.row[e] * radial.a_row + channel;
    T* dk = grad_k_block + sender[e] * M * W;
    T* da = grad.a ? grad.a + grad.row[e] * grad.a_row + channel : nullptr;
    for (int64_t x = 0, m = 0; x < shape.irreps; ++x) {
      const Vec<T, W> weight = load<T, W>(a + x * radial.a_step) * ds[e];
      Vec<T, W> part{};
      for (const int64_t end = shape.irrep_start[x + 1]; m < end; ++m) {
        const Vec<T, W> km = load<T, W>(k + m * W);
        part += q[m] * km;
        dq[m] += weight * km;
        store<T, W>(dk + m * W, load<T, W>(dk + m * W) + weight * q[m]);
      }
      if (da) store<T, W>(da + x * grad.a_step, part * ds[e]);
    }
  }
  for (int64_t m = 0; m < M; ++m)
    store<T, W>(grad_query + m * C, load<T, W>(grad_query + m * C) + dq[m] * scale);
}

// From the gradients of a and g of a head to those of the weights and of rho.
template <class T>
void project_backward(const So3Scratch<T>& s, const Problem& problem, const Item& item, const So3Shape& shape,
                      const So3Basis& basis, int64_t r, int64_t h, bool rho) {
  const int64_t K = basis.count, D = problem.dim, n = item.count[r], A = shape.irreps * D;
  if (basis.grad_a) {
    pack_b<T>(n, A, s.grad_a, false, s.packed_grad);
    gemm_transposed<T>(K, A, n, s.packed_rho, s.packed_grad, static_cast<T*>(basis.grad_a) + h * K * A);
  }
  if (rho) {
    gemm<T>(n, K, A, s.grad_a, static_cast<const T*>(basis.packed_at) + h * packed_size<T>(A, K), s.grad_rho);
  }
  for (int64_t J = 0; J < shape.degrees; ++J) {
    const T* grad = s.grad_g + J * item.stride * D;
    if (basis.grad_g) {
      pack_b<T>(n, D, grad, false, s.packed_grad);
      gemm_transposed<T>(K, D, n, s.packed_rho + (basis.scaling ? J * packed_transpose_size<T>(item.stride, K) : 0),
                         s.packed_grad, static_cast<T*>(basis.grad_g) + (h * shape.degrees + J) * K * D);
    }
    if (rho) {
      gemm<T>(n, K, D, grad, static_cast<const T*>(basis.packed_gt) + (h * shape.degrees + J) * packed_size<T>(D, K),
              s.grad_rho + J * item.stride * K);
    }
  }
}

// From the gradients of rho to those of the scaling table and, into s.dp, of the distances.
template <class T>
void radial_backward(const So3Scratch<T>& s, const Item& item, const So3Shape& shape, const So3Basis& basis,
                     int64_t r) {
  const int64_t K = basis.count;
  for (int64_t e = 0; e < item.count[r]; ++e) {
    const T *phi = s.phi + e * K, *slope = s.slope + e * K;
    const int64_t slot = r * item.stride + e;
    const int64_t local = basis.scaling ? item.run_table[r * item.stride + item.run[slot]] : 0;
    const T* scaling = basis.scaling
                           ? static_cast<const T*>(basis.scaling) + basis.row[local] * shape.degrees * K
                           : nullptr;
    T* to = basis.grad_scaling ? static_cast<T*>(basis.grad_scaling) + basis.grad_row[local] * shape.degrees * K
                               : nullptr;
    T sum = 0;
    for (int64_t J = 0; J < shape.degrees; ++J) {
      const T* grad = s.grad_rho + (J * item.stride + e) * K;
      for (int64_t k = 0; k < K; ++k) sum += grad[k] * slope[k] * (scaling ? scaling[J * K + k] : T(1));
      if (!to) continue;
      for (int64_t k = 0; k < K; ++k) to[J * K + k] += grad[k] * phi[k];
    }
    s.dp[e] = sum;
  }
}

// Writes the gradients of a and g that were kept in scratch, and zeros for pairs that are not allowed.
template <class T>
void store_rows(const So3Scratch<T>& s, const Problem& problem, const Item& item, const So3Shape& shape,
                const So3Rows& rows, bool in_place, int64_t r) {
  const int64_t a = shape.irreps * problem.channels, g = shape.degrees * problem.channels;
  const int64_t first = item.pair_row + r * item.pair_step;
  const int32_t* sender = item.sender + r * item.stride;
  for (int64_t j = 0, e = 0; j < item.size; ++j) {
    const bool allowed = e < item.count[r] && sender[e] == j;
    if (!allowed) {
      if (rows.grad_a) zero_row(rows.grad_a, rows.type, first + j, a);
      if (rows.grad_g) zero_row(rows.grad_g, rows.type, first + j, g);
      continue;
    }
    if (!in_place) {
      if (rows.grad_a) write_row(rows.grad_a, rows.type, first + j, a, s.grad_a + e * a);
      if (rows.grad_g) write_row(rows.grad_g, rows.type, first + j, g, s.grad_g + e * g);
    }
    ++e;
  }
}

template <class T, int W>
void so3_backward_item(const So3Scratch<T>& s, const Problem& problem, const Item& item, const ItemBias& bias,
                       const So3Shape& shape, const So3Rows* rows, const So3Basis* basis, const So3Grad& grad) {
  const int64_t C = problem.channels, D = problem.dim, H = problem.heads, stride = item.stride;
  const int64_t FM = shape.filters * shape.values;
  const bool in_place = rows && rows->type == own_type<T>();
  const bool rho = basis && (basis->grad_scaling || grad.positions);
  T *a = in_place ? static_cast<T*>(const_cast<void*>(rows->a)) : s.a,
    *g = in_place ? static_cast<T*>(const_cast<void*>(rows->g)) : s.g;
  T *grad_a = in_place ? static_cast<T*>(rows->grad_a) : s.grad_a, *grad_g = in_place ? static_cast<T*>(rows->grad_g) : s.grad_g;
  T* z = s.product + FM * W;
  start_item<T, W>(s, problem, item, shape);
  zero(s.grad_key, item.size * shape.qk * C);
  zero(s.grad_value, item.size * shape.values * C);
  if (grad.positions) zero(static_cast<T*>(grad.positions), item.size * 3);
  for (int64_t r = 0; r < item.rows; ++r) {
    const int64_t token = item.token + item.first + r, n = item.count[r], padded = padded_count<T>(item, r);
    const int32_t* sender = item.sender + r * stride;
    const T *query = static_cast<const T*>(problem.query) + token * shape.qk * C,
            *out = static_cast<const T*>(problem.out) + token * shape.outputs * C,
            *grad_out = static_cast<const T*>(problem.grad_out) + token * shape.outputs * C,
            *lse = static_cast<const T*>(problem.lse) + token * H;
    T* grad_query = static_cast<T*>(problem.grad_query) + token * shape.qk * C;
    zero(grad_query, shape.qk * C);
    geometry(s, item, shape, r);
    if (basis) {
      radial_rows(s, item, shape, *basis, r);
      if (rho) zero(s.grad_rho, shape.degrees * stride * basis->count);
      for (int64_t J = 0; J < (basis->scaling ? shape.degrees : 1); ++J) {
        pack_transpose<T>(n, basis->count, rho_of(s, item, *basis, J),
                          s.packed_rho + J * packed_transpose_size<T>(stride, basis->count));
      }
    }
    if (rows && !in_place) widen_rows(s, problem, item, shape, *rows, r);
    if (grad.positions) zero(s.grad_harmonics, shape.filters * stride);
    for (int64_t h = 0; h < H && n > 0; ++h) {
      if (basis) {
        project(s, problem, item, shape, *basis, r, h, false);
        project(s, problem, item, shape, *basis, r, h, true);
      }
      const Radial<T> radial = radial_of(a, g, s, problem, item, shape, rows, in_place, r, h),
                      to = radial_of(grad_a, grad_g, s, problem, item, shape, rows, in_place, r, h);
      head_logits<T, W>(problem, item, shape, s.key, query, radial, r, h, s.wide, s.p);
      if (bias.bias) add_row(s.p, static_cast<const T*>(bias.bias) + (r * H + h) * stride, padded);
      T delta = 0;
      for (int64_t m = 0; m < shape.outputs; ++m) delta += dot(D, out + m * C + h * D, grad_out + m * C + h * D);
      const T shift = lse[h];
      for (int64_t e = 0; e < n; ++e) s.p[e] = shift == -INFINITY ? T(0) : std::exp(s.p[e] - shift);
      if (grad.positions) zero(s.sum_filters, shape.filters * stride * W);
      if (grad.path_weight) weight_harmonics(n, stride, shape.filters, s.harmonics, s.p, s.weighted);
      for (int64_t b = 0; b < D / W; ++b) {
        const int64_t block = h * (D / W) + b, channel = h * D + b * W;
        const int64_t at = block * item.size * shape.values * W;
        const T* weight = static_cast<const T*>(shape.path_weight) + channel;
        if (grad.path_weight) {
          products<T, W>(n, stride, shape, s.value + at, sender, s.weighted, radial, b * W, s.product);
        }
        zero(z, FM * W);
        for (int64_t i = 0; i < shape.couplings; ++i) {
          const Coupling& c = shape.coupling[i];
          const Vec<T, W> d = load<T, W>(grad_out + c.output * C + channel) * static_cast<T>(c.coefficient);
          T* to_z = z + (c.filter * shape.values + c.value) * W;
          store<T, W>(to_z, load<T, W>(to_z) + d * load<T, W>(weight + c.path * C));
          if (grad.path_weight) {
            T* to_w = static_cast<T*>(grad.path_weight) + c.path * C + channel;
            store<T, W>(to_w, load<T, W>(to_w) + d * load<T, W>(s.product + (c.filter * shape.values + c.value) * W));
          }
        }
        const auto gradients = grad.positions ? value_gradients<T, W, true> : value_gradients<T, W, false>;
        gradients(n, stride, shape, z, s.harmonics, s.p, s.value + at, s.grad_value + at, sender, radial, to, b * W,
                  b == 0, s.wide, s.sum_filters);
      }
      for (int64_t e = 0; e < n; ++e) s.dp[e] = s.p[e] * (sum_lanes<T, W>(load<T, W>(s.wide + e * W)) - delta);
      if (bias.grad) copy_row(static_cast<T*>(bias.grad) + (r * H + h) * stride, s.dp, n);
      if (grad.positions) {
        for (int64_t f = 1; f < shape.filters; ++f) {
          for (int64_t e = 0; e < n; ++e)
            s.grad_harmonics[f * stride + e] += sum_lanes<T, W>(load<T, W>(s.sum_filters + (f * stride + e) * W));
        }
      }
      for (int64_t b = 0; b < D / W; ++b) {
        const int64_t at = (h * (D / W) + b) * item.size * shape.qk * W, channel = h * D + b * W;
        logit_gradients<T, W>(n, shape, C, static_cast<T>(problem.scale), s.dp, query + channel, s.key + at,
                              s.grad_key + at, sender, radial, to, b * W, grad_query + channel);
      }
      if (basis && (rho || basis->grad_a || basis->grad_g)) {
        project_backward(s, problem, item, shape, *basis, r, h, rho);
      }
    }
    if (rho) radial_backward(s, item, shape, *basis, r);
    if (grad.positions) geometry_backward(s, item, shape, r, basis ? s.dp : nullptr, static_cast<T*>(grad.positions));
    if (rows && (rows->grad_a || rows->grad_g)) store_rows(s, problem, item, shape, *rows, in_place, r);
  }
  unpack_components<T, W>(item.size * shape.qk, C, s.grad_key, static_cast<T*>(grad.key));
  unpack_components<T, W>(item.size * shape.values, C, s.grad_value, static_cast<T*>(grad.value));
}

}  // namespace
