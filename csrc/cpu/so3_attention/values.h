// The value side of so3_attention of one head of one receiver, see heads.h. Included by the kernel files only.
//
//   S_{F,n} = sum_e p_e Y_eF g_e,J(F) v_en,   out_m = sum over couplings (path, F, n, m) of w_path coefficient S_{F,n}
//
// The Clebsch-Gordan sums stand outside of the loop over senders; the sums S of a block live in registers.
// Backward, with Z_{F,n} = sum over couplings of w coefficient dout_m and U_F = sum_n Z_{F,n} v_n:
//   dp = sum_cF g_J(F) Y_F U_F,   dg_J = p sum_{F in J} Y_F U_F,   dY_F = p sum_c g_J(F) U_F,
//   dv_n += sum_F p g_J(F) Y_F Z_{F,n},   dw_path += coefficient S_{F,n} dout_m.
#pragma once

#include "heads.h"

namespace {

// S_{F,n} of NF filter components of one degree from f on and N value components from `first` on, for one channel
// block; g of that degree at g_base + row * g_row, or p g of the senders one after the other.
template <class T, int W, int NF, int N, bool kWeighted>
DITKERNELS_LOOP void add_products(const So3Shape& shape, const T* v_block, const Senders& list, const T* harmonics,
                                  const T* p, const T* g_base, int64_t g_row, int64_t f, int64_t first, T* product) {
  const int64_t M = shape.values, filters = shape.filters;
  const T *y = harmonics + f, *v_base = v_block + first * W;
  Vec<T, W> sum[NF][N];
  unroll<NF>([&](auto j) DITKERNELS_UNROLLED {
    unroll<N>([&](auto i) DITKERNELS_UNROLLED { sum[j][i] = Vec<T, W>{}; });
  });
  for (int64_t e = 0; e < list.count; ++e, y += filters) {
    const Vec<T, W> pg = kWeighted ? load<T, W>(g_base + e * W) : load<T, W>(g_base + list.row[e] * g_row) * p[e];
    const T* v = v_base + list.sender[e] * M * W;
    Vec<T, W> weight[NF];
    unroll<NF>([&](auto j) DITKERNELS_UNROLLED { weight[j] = pg * y[j]; });
    unroll<N>([&](auto i) DITKERNELS_UNROLLED {
      const Vec<T, W> x = load<T, W>(v + i * W);
      unroll<NF>([&](auto j) DITKERNELS_UNROLLED { sum[j][i] += weight[j] * x; });
    });
  }
  unroll<NF>([&](auto j) DITKERNELS_UNROLLED {
    unroll<N>([&](auto i) DITKERNELS_UNROLLED { store<T, W>(product + ((f + j) * M + first + i) * W, sum[j][i]); });
  });
}

// S of one channel block, radial weights g: a single filter component with up to 9 value components at once, or three
// of one degree with up to 4, as the registers hold sums for. 9 value components fill them alone.
template <class T, int W>
void products(const So3Shape& shape, const T* v_block, const Senders& list, const T* harmonics, const T* p,
              const Radial<T>& g, T* weighted, T* product) {
  for (int64_t J = 0, f = 0; J < shape.degrees; ++J) {
    const T* of_degree = g.base + J * g.step;
    const auto all = [&](auto is_weighted, auto filters, auto... counts) DITKERNELS_UNROLLED {
      int64_t first = 0;
      const auto run = [&](auto count) DITKERNELS_UNROLLED {
        constexpr int N = decltype(count)::kValue;
        constexpr bool kWeighted = decltype(is_weighted)::kValue != 0;
        for (; shape.values - first >= N; first += N)
          add_products<T, W, decltype(filters)::kValue, N, kWeighted>(
              shape, v_block, list, harmonics, p, kWeighted ? weighted : of_degree, g.row, f, first, product);
      };
      (run(counts), ...);
      f += decltype(filters)::kValue;
    };
    const int64_t end = (J + 1) * (J + 1);
    if (shape.values % 9 == 0) {  // 2 J + 1 passes share the products of p and g
      for (int64_t e = 0; e < list.count; ++e)
        store<T, W>(weighted + e * W, load<T, W>(of_degree + list.row[e] * g.row) * p[e]);
      while (f < end) all(Constant<1>{}, Constant<1>{}, Constant<9>{});
      continue;
    }
    while (f < end) {
      if (end - f >= 3)
        all(Constant<0>{}, Constant<3>{}, Constant<4>{}, Constant<3>{}, Constant<1>{});
      else
        all(Constant<0>{}, Constant<1>{}, Constant<8>{}, Constant<4>{}, Constant<3>{}, Constant<1>{});
    }
  }
}

// out = factor out + CG w S, for one channel block; weights as in So3Tokens, components of out `step` apart.
template <class T, int W>
DITKERNELS_LOOP void add_couplings(const So3Shape& shape, int64_t step, const T* weight, const T* product, T factor,
                                   T* out) {
  const int32_t* place = shape.place;
  for (int64_t m = 0; m < shape.outputs; ++m, out += step) {
    Vec<T, W> sum = load<T, W>(out) * factor;
    for (const int32_t* end = shape.place + shape.output_start[m + 1]; place < end; ++place, weight += W)
      sum += load<T, W>(weight) * load<T, W>(product + *place * W);
    store<T, W>(out, sum);
  }
}

// Z of one channel block from the gradient of the output; with S (product), adds to the gradient of the path weights.
// That is a sum over all pairs of all molecules, one pair list after the other: in double, so that no digits are lost
// on the way.
template <class T, int W, bool kWeights>
DITKERNELS_LOOP void add_coupling_gradients(const So3Shape& shape, const So3Tokens<T>& t, int64_t C, const T* weight,
                                            const T* grad_out, const T* product, T* z, double* grad_weight) {
  const int32_t *at = t.product_at, *out_at = t.out_at;
  const T* coefficient = t.coefficient;
  int64_t i = 0;
  for (int64_t path = 0; path < shape.paths; ++path, weight += C, grad_weight += kWeights ? C : 0) {
    const Vec<T, W> w = load<T, W>(weight);
    Vec<T, W> sum{};
    for (const int64_t end = t.path_start[path + 1]; i < end; ++i) {
      const Vec<T, W> d = load<T, W>(grad_out + out_at[i]) * coefficient[i];
      store<T, W>(z + at[i], load<T, W>(z + at[i]) + d * w);
      if constexpr (kWeights) sum += d * load<T, W>(product + at[i]);
    }
    if constexpr (!kWeights) continue;
    T part[W];
    store<T, W>(part, sum);
    for (int64_t c = 0; c < W; ++c) grad_weight[c] += static_cast<double>(part[c]);
  }
}

template <class T, int W>
void coupling_gradients(const So3Shape& shape, const So3Tokens<T>& t, int64_t C, const T* weight, const T* grad_out,
                        const T* product, T* z, double* grad_weight) {
  zero(z, shape.filters * shape.values * W);
  grad_weight ? add_coupling_gradients<T, W, true>(shape, t, C, weight, grad_out, product, z, grad_weight)
              : add_coupling_gradients<T, W, false>(shape, t, C, weight, grad_out, product, z, nullptr);
}

constexpr int degree_of(int filter) { return filter == 0 ? 0 : filter < 4 ? 1 : 2; }

// Filter degrees kFirst to kLast of one channel block: adds to dp (wide), or writes it if `first`; adds to dv and,
// unless null, to dY (wide_y, kMaxFilters vectors a sender); adds to dg or writes it, unless null. kValues: components
// of the values, so that the loop over them is written out; 0 for any number.
template <class T, int W, int kFirst, int kLast, int kValues, bool kAdd>
DITKERNELS_LOOP void degree_gradients(const So3Shape& shape, const T* z, const T* harmonics, const T* p,
                                      const T* v_block, T* grad_v_block, const Senders& list,
                                      const Radial<T>& radial, const Radial<T>& grad, bool first, T* wide, T* wide_y) {
  constexpr int kBegin = kFirst * kFirst, NF = (kLast + 1) * (kLast + 1) - kBegin, NJ = kLast - kFirst + 1;
  const int64_t M = kValues ? kValues : shape.values, filters = shape.filters;
  z += kBegin * M * W;
  const T* y = harmonics + kBegin;
  for (int64_t e = 0; e < list.count; ++e, y += filters, wide += W) {
    const int64_t token = list.sender[e] * M * W;
    const T *v = v_block + token, *g_row = radial.base + list.row[e] * radial.row + kFirst * radial.step;
    T* dv = grad_v_block + token;
    Vec<T, W> pg[NJ], weight[NF], u[NF], r[NJ];
    unroll<NJ>([&](auto i) DITKERNELS_UNROLLED { pg[i] = load<T, W>(g_row + i * radial.step) * p[e]; });
    unroll<NF>([&](auto j) DITKERNELS_UNROLLED { weight[j] = pg[degree_of(kBegin + j) - kFirst] * y[j]; });
    const auto component = [&](auto begin, int64_t n) DITKERNELS_UNROLLED {
      const Vec<T, W> x = load<T, W>(v + n * W);
      Vec<T, W> back = load<T, W>(dv + n * W);
      unroll<NF>([&](auto j) DITKERNELS_UNROLLED {
        const Vec<T, W> zn = load<T, W>(z + (j * M + n) * W);
        u[j] = decltype(begin)::kValue ? zn * x : u[j] + zn * x;
        back += zn * weight[j];
      });
      store<T, W>(dv + n * W, back);
    };
    component(Constant<1>{}, 0);
    if constexpr (kValues > 0) {
      unroll<kValues - 1>([&](auto n) DITKERNELS_UNROLLED { component(Constant<0>{}, n + 1); });
    } else {
      for (int64_t n = 1; n < M; ++n) component(Constant<0>{}, n);
    }
    unroll<NF>([&](auto j) DITKERNELS_UNROLLED {
      constexpr int i = degree_of(kBegin + decltype(j)::kValue) - kFirst;
      constexpr bool kNew = i * (i + 2 * kFirst) == decltype(j)::kValue;  // the first filter component of its degree
      r[i] = kNew ? u[j] * y[j] : r[i] + u[j] * y[j];
    });
    Vec<T, W> dp = first ? Vec<T, W>{} : load<T, W>(wide);
    unroll<NJ>([&](auto i) DITKERNELS_UNROLLED { dp += load<T, W>(g_row + i * radial.step) * r[i]; });
    store<T, W>(wide, dp);
    if (grad.base) {
      T* to = grad.base + list.row[e] * grad.row + kFirst * grad.step;
      unroll<NJ>([&](auto i) DITKERNELS_UNROLLED {
        store<T, W>(to + i * grad.step, (kAdd ? load<T, W>(to + i * grad.step) : Vec<T, W>{}) + r[i] * p[e]);
      });
    }
    if (kLast > 0 && wide_y) {
      T* to = wide_y + (e * kMaxFilters + kBegin) * W;
      unroll<NF>([&](auto j) DITKERNELS_UNROLLED {
        constexpr int degree = degree_of(kBegin + decltype(j)::kValue);
        if constexpr (degree > 0)
          store<T, W>(to + j * W, load<T, W>(to + j * W) + u[j] * pg[degree - kFirst]);
      });
    }
  }
}

// All degrees: the first two at once share the loads of v and dv.
template <class T, int W, bool kAdd>
void value_gradients(const So3Shape& shape, const T* z, const T* harmonics, const T* p, const T* v_block,
                     T* grad_v_block, const Senders& list, const Radial<T>& radial, const Radial<T>& grad, bool first,
                     T* wide, T* wide_y) {
  const auto run = [&](auto values) DITKERNELS_UNROLLED {
    constexpr int M = decltype(values)::kValue;
    const auto degrees = [&](auto from, auto to, bool start) DITKERNELS_UNROLLED {
      degree_gradients<T, W, decltype(from)::kValue, decltype(to)::kValue, M, kAdd>(
          shape, z, harmonics, p, v_block, grad_v_block, list, radial, grad, start, wide, wide_y);
    };
    if (shape.degrees == 1) return degrees(Constant<0>{}, Constant<0>{}, first);
    degrees(Constant<0>{}, Constant<1>{}, first);
    if (shape.degrees > 2) degrees(Constant<2>{}, Constant<2>{}, false);
  };
  if constexpr (sizeof(T) == sizeof(float)) {
    if (shape.values == 4) return run(Constant<4>{});
    if (shape.values == 8) return run(Constant<8>{});
    if (shape.values == 9) return run(Constant<9>{});
  }
  run(Constant<0>{});
}

}  // namespace
