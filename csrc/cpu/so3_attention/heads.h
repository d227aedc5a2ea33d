// so3_attention of one head of one receiver over a list of senders. Included by the kernel files only.
//
//   logit_e = scale sum_{x, m in x, c} q_mc k_emc a_exc                  (e: listed senders, c: channels of a head)
//   S_{F,n} = sum_e p_e Y_eF g_e,J(F) v_en                               (F: filter components, n: value components)
//   out_m   = sum over couplings (path, F, n, m) of w_path coefficient S_{F,n}
//
// The Clebsch-Gordan sums stand outside of the loop over senders. Channels are taken in blocks of one vector: K and V
// of the molecule are packed as (C / W, size, M, W), so that a block stays in the first-level cache while it is used.
// Backward, with Z_{F,n} = sum over couplings of w coefficient dout_m and U_F = sum_n Z_{F,n} v_n:
//   dp = sum_cF g_J(F) Y_F U_F,   dg_J = p sum_{F in J} Y_F U_F,   dY_F = p sum_c g_J(F) U_F,
//   dv_n += sum_F p g_J(F) Y_F Z_{F,n},   dw_path += coefficient S_{F,n} dout_m,
//   ds = p (dp - delta),   da_x = scale ds sum_m q_m k_m,   dq_m += scale ds a_x k_m,   dk_m += scale ds a_x q_m.
#pragma once

#include "../micro.h"
#include "plan.h"

namespace {

constexpr int kMaxComponents = 18;

// Senders of one receiver, and the rows of their radial weights.
struct Senders {
  int64_t count;
  const int32_t *sender, *row;
};

// Radial weights of one head: a_x of row i at a + i * a_row + x * a_step, g_J likewise; or their gradients.
template <class T>
struct Radial {
  T *a, *g;
  int64_t a_row, a_step, g_row, g_step;
};

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

// Sums over the lanes of each of `count` vectors; reads up to W - 1 vectors behind them.
template <class T, int W>
DITKERNELS_LOOP void sum_rows(int64_t count, const T* wide, T* to) {
  int64_t e = 0;
  for (; e + W <= count; e += W) {
    Vec<T, W> x[W];
    unroll<W>([&](auto i) DITKERNELS_UNROLLED { x[i] = load<T, W>(wide + (e + i) * W); });
    store<T, W>(to + e, TransposeSum<T, W>::apply(x));
  }
  if (e == count) return;
  Vec<T, W> x[W];
  unroll<W>([&](auto i) DITKERNELS_UNROLLED { x[i] = load<T, W>(wide + (e + i) * W); });
  const Vec<T, W> sums = TransposeSum<T, W>::apply(x);
  for (int i = 0; e + i < count; ++i) to[e + i] = sums[i];
}

// ---- logits ----

// E senders at once share the loads of the query.
template <class T, int W, int E>
DITKERNELS_INLINE void add_logits(const So3Shape& shape, const Vec<T, W>* q, const T* k_block, const int32_t* sender,
                                  const int32_t* row, const T* a_base, int64_t a_row, int64_t a_step, bool first,
                                  T* wide) {
  const int64_t M = shape.qk;
  const T *k[E], *a[E];
  Vec<T, W> sum[E];
  unroll<E>([&](auto i) DITKERNELS_UNROLLED {
    k[i] = k_block + sender[i] * M * W;
    a[i] = a_base + row[i] * a_row;
    sum[i] = first ? Vec<T, W>{} : load<T, W>(wide + i * W);
  });
  for (int64_t x = 0, m = 0; x < shape.irreps; ++x) {
    Vec<T, W> part[E];
    unroll<E>([&](auto i) DITKERNELS_UNROLLED { part[i] = Vec<T, W>{}; });
    for (const int64_t end = shape.irrep_start[x + 1]; m < end; ++m)
      unroll<E>([&](auto i) DITKERNELS_UNROLLED { part[i] += q[m] * load<T, W>(k[i] + m * W); });
    unroll<E>([&](auto i) DITKERNELS_UNROLLED { sum[i] += part[i] * load<T, W>(a[i] + x * a_step); });
  }
  unroll<E>([&](auto i) DITKERNELS_UNROLLED { store<T, W>(wide + i * W, sum[i]); });
}

// logit (count) of head h: sums lane by lane over its channel blocks, then over the lanes.
template <class T, int W>
DITKERNELS_LOOP void head_logits(const Problem& problem, const So3Shape& shape, int64_t size, int64_t h, const T* key,
                                 const T* query, const Senders& list, const Radial<T>& radial, T* wide, T* logit) {
  const int64_t D = problem.dim, C = problem.channels, n = list.count, M = shape.qk;
  const T scale = static_cast<T>(problem.scale);
  for (int64_t b = 0; b < D / W; ++b) {
    Vec<T, W> q[kMaxComponents];
    for (int64_t m = 0; m < M; ++m) q[m] = load<T, W>(query + m * C + h * D + b * W) * scale;
    const T *k_block = key + (h * (D / W) + b) * size * M * W, *a = radial.a + b * W;
    int64_t e = 0;
    for (; e + 4 <= n; e += 4)
      add_logits<T, W, 4>(shape, q, k_block, list.sender + e, list.row + e, a, radial.a_row, radial.a_step, b == 0,
                          wide + e * W);
    for (; e < n; ++e)
      add_logits<T, W, 1>(shape, q, k_block, list.sender + e, list.row + e, a, radial.a_row, radial.a_step, b == 0,
                          wide + e * W);
  }
  sum_rows<T, W>(n, wide, logit);
}

// One or two senders, with ds in place of p: adds to dq (M, W) and dk; adds to da, or writes it.
template <class T, int W, int E, bool kAdd>
DITKERNELS_INLINE void add_logit_gradients(const So3Shape& shape, const T* ds, const T* q, const T* k_block,
                                           T* grad_k_block, const int32_t* sender, const int32_t* row,
                                           const Radial<T>& radial, const Radial<T>& grad, int64_t channel, T* dq) {
  const int64_t M = shape.qk;
  const T *k[E], *a[E];
  T *dk[E], *da[E];
  unroll<E>([&](auto i) DITKERNELS_UNROLLED {
    k[i] = k_block + sender[i] * M * W;
    dk[i] = grad_k_block + sender[i] * M * W;
    a[i] = radial.a + row[i] * radial.a_row + channel;
    da[i] = grad.a ? grad.a + row[i] * grad.a_row + channel : nullptr;
  });
  for (int64_t x = 0, m = 0; x < shape.irreps; ++x) {
    Vec<T, W> weight[E], part[E];
    unroll<E>([&](auto i) DITKERNELS_UNROLLED {
      weight[i] = load<T, W>(a[i] + x * radial.a_step) * ds[i];
      part[i] = Vec<T, W>{};
    });
    for (const int64_t end = shape.irrep_start[x + 1]; m < end; ++m) {
      const Vec<T, W> qm = load<T, W>(q + m * W);
      Vec<T, W> sum = load<T, W>(dq + m * W);
      unroll<E>([&](auto i) DITKERNELS_UNROLLED {
        const Vec<T, W> km = load<T, W>(k[i] + m * W);
        part[i] += qm * km;
        sum += weight[i] * km;
        store<T, W>(dk[i] + m * W, load<T, W>(dk[i] + m * W) + weight[i] * qm);
      });
      store<T, W>(dq + m * W, sum);
    }
    if (!grad.a) continue;
    unroll<E>([&](auto i) DITKERNELS_UNROLLED {
      T* to = da[i] + x * grad.a_step;
      store<T, W>(to, (kAdd ? load<T, W>(to) : Vec<T, W>{}) + part[i] * ds[i]);
    });
  }
}

// The logit side of one channel block: adds to dq (rows of C) and dk; da is added to, or written.
template <class T, int W, bool kAdd>
DITKERNELS_LOOP void logit_gradients(const So3Shape& shape, int64_t C, T scale, const T* ds, const T* query,
                                     const T* k_block, T* grad_k_block, const Senders& list, const Radial<T>& radial,
                                     const Radial<T>& grad, int64_t channel, T* grad_query) {
  T q[kMaxComponents * W], dq[kMaxComponents * W];
  for (int64_t m = 0; m < shape.qk; ++m) {
    store<T, W>(q + m * W, load<T, W>(query + m * C) * scale);
    store<T, W>(dq + m * W, Vec<T, W>{});
  }
  int64_t e = 0;
  for (; e + 2 <= list.count; e += 2)
    add_logit_gradients<T, W, 2, kAdd>(shape, ds + e, q, k_block, grad_k_block, list.sender + e, list.row + e, radial,
                                       grad, channel, dq);
  for (; e < list.count; ++e)
    add_logit_gradients<T, W, 1, kAdd>(shape, ds + e, q, k_block, grad_k_block, list.sender + e, list.row + e, radial,
                                       grad, channel, dq);
  for (int64_t m = 0; m < shape.qk; ++m)
    store<T, W>(grad_query + m * C, load<T, W>(grad_query + m * C) + load<T, W>(dq + m * W) * scale);
}

// ---- values ----

// S_{F,n} of NF filter components of one degree from f and N value components from `first` on, for one channel block.
template <class T, int W, int NF, int N>
DITKERNELS_LOOP void add_products(const So3Shape& shape, const T* v_block, const Senders& list, const T* weighted,
                                  int64_t stride, const T* g_base, int64_t g_row, int64_t f, int64_t first,
                                  T* product) {
  const int64_t M = shape.values;
  const T *y = weighted + f * stride, *v_base = v_block + first * W;
  Vec<T, W> sum[NF][N];
  unroll<NF>([&](auto j) DITKERNELS_UNROLLED {
    unroll<N>([&](auto i) DITKERNELS_UNROLLED { sum[j][i] = Vec<T, W>{}; });
  });
  for (int64_t e = 0; e < list.count; ++e) {
    const Vec<T, W> g = load<T, W>(g_base + list.row[e] * g_row);
    const T* v = v_base + list.sender[e] * M * W;
    Vec<T, W> weight[NF];
    unroll<NF>([&](auto j) DITKERNELS_UNROLLED { weight[j] = g * y[j * stride + e]; });
    unroll<N>([&](auto i) DITKERNELS_UNROLLED {
      const Vec<T, W> x = load<T, W>(v + i * W);
      unroll<NF>([&](auto j) DITKERNELS_UNROLLED { sum[j][i] += weight[j] * x; });
    });
  }
  unroll<NF>([&](auto j) DITKERNELS_UNROLLED {
    unroll<N>([&](auto i) DITKERNELS_UNROLLED { store<T, W>(product + ((f + j) * M + first + i) * W, sum[j][i]); });
  });
}

// All filter components for N value components: as many of a degree at once as the registers hold sums for.
template <class T, int W, int N>
DITKERNELS_INLINE void filter_products(const So3Shape& shape, const T* v_block, const Senders& list, const T* weighted,
                                       int64_t stride, const Radial<T>& radial, int64_t channel, int64_t first,
                                       T* product) {
  const auto run = [&](auto count, int64_t J, int64_t f) DITKERNELS_UNROLLED {
    add_products<T, W, decltype(count)::kValue, N>(shape, v_block, list, weighted, stride,
                                                   radial.g + J * radial.g_step + channel, radial.g_row, f, first,
                                                   product);
  };
  constexpr int kMost = N <= 4 ? 3 : 1;
  for (int64_t J = 0, f = 0; J < shape.degrees; ++J) {
    const int64_t end = (J + 1) * (J + 1);
    if constexpr (kMost == 3) {
      if (end - f >= 3) run(Constant<3>{}, J, f), f += 3;
    }
    for (; f < end; ++f) run(Constant<1>{}, J, f);
  }
}

template <class T, int W>
void products(const So3Shape& shape, const T* v_block, const Senders& list, const T* weighted, int64_t stride,
              const Radial<T>& radial, int64_t channel, T* product) {
  int64_t first = 0;
  const auto run = [&](auto count) DITKERNELS_UNROLLED {
    constexpr int N = decltype(count)::kValue;
    for (; shape.values - first >= N; first += N)
      filter_products<T, W, N>(shape, v_block, list, weighted, stride, radial, channel, first, product);
  };
  if (shape.values % 9 == 0) run(Constant<9>{});
  run(Constant<4>{});
  run(Constant<3>{});
  run(Constant<1>{});
}

// out (rows of C) += CG w S, for one channel block.
template <class T, int W>
DITKERNELS_LOOP void add_couplings(const So3Shape& shape, int64_t C, const T* weight, const T* product, T* out) {
  for (int64_t i = 0; i < shape.couplings; ++i) {
    const Coupling& c = shape.coupling[i];
    T* to = out + c.output * C;
    store<T, W>(to, load<T, W>(to) + load<T, W>(weight + c.path * C) * static_cast<T>(c.coefficient) *
                                         load<T, W>(product + (c.filter * shape.values + c.value) * W));
  }
}

// Z from the gradient of the output (rows of C); with S (product), adds to the gradient of the path weights. That is a
// sum over all pairs of all molecules, one pair list after the other: in double, so that no digits are lost on the way.
template <class T, int W>
DITKERNELS_LOOP void coupling_gradients(const So3Shape& shape, int64_t C, const T* weight, const T* grad_out,
                                        const T* product, T* z, double* grad_weight) {
  zero(z, shape.filters * shape.values * W);
  for (int64_t i = 0; i < shape.couplings;) {
    const int64_t path = shape.coupling[i].path;
    const Vec<T, W> w = load<T, W>(weight + path * C);
    Vec<T, W> sum{};
    for (; i < shape.couplings && shape.coupling[i].path == path; ++i) {
      const Coupling& c = shape.coupling[i];
      const int64_t at = (c.filter * shape.values + c.value) * W;
      const Vec<T, W> d = load<T, W>(grad_out + c.output * C) * static_cast<T>(c.coefficient);
      store<T, W>(z + at, load<T, W>(z + at) + d * w);
      if (grad_weight) sum += d * load<T, W>(product + at);
    }
    if (!grad_weight) continue;
    T part[W];
    store<T, W>(part, sum);
    for (int64_t c = 0; c < W; ++c) grad_weight[path * C + c] += static_cast<double>(part[c]);
  }
}

// Filter degree J = (NF - 1) / 2 of one channel block: adds to dp (wide) and, unless null, to dY (wide_y, kMaxFilters
// vectors a sender) and dv; adds to dg or writes it, unless null.
template <class T, int W, int NF, bool kAdd>
DITKERNELS_LOOP void degree_gradients(const So3Shape& shape, const T* z, const T* harmonics, const T* weighted,
                                      int64_t stride, const T* p, const T* v_block, T* grad_v_block,
                                      const Senders& list, const T* g_base, int64_t g_row, T* grad_g,
                                      int64_t grad_g_row, bool first, T* wide, T* wide_y) {
  constexpr int64_t kFirst = (NF - 1) / 2 * ((NF - 1) / 2);
  const int64_t M = shape.values;
  z += kFirst * M * W;
  for (int64_t e = 0; e < list.count; ++e) {
    const T *v = v_block + list.sender[e] * M * W, *y = harmonics + kFirst * stride + e,
            *py = weighted + kFirst * stride + e;
    T* dv = grad_v_block + list.sender[e] * M * W;
    const Vec<T, W> g = load<T, W>(g_base + list.row[e] * g_row);
    Vec<T, W> weight[NF], u[NF];
    unroll<NF>([&](auto j) DITKERNELS_UNROLLED {
      weight[j] = g * py[j * stride];
      u[j] = Vec<T, W>{};
    });
    const T* at = z;
    for (int64_t n = 0; n < M; ++n, at += W) {
      const Vec<T, W> x = load<T, W>(v + n * W);
      Vec<T, W> back = load<T, W>(dv + n * W);
      unroll<NF>([&](auto j) DITKERNELS_UNROLLED {
        const Vec<T, W> zn = load<T, W>(at + j * M * W);
        u[j] += zn * x;
        back += zn * weight[j];
      });
      store<T, W>(dv + n * W, back);
    }
    Vec<T, W> r{};
    unroll<NF>([&](auto j) DITKERNELS_UNROLLED { r += u[j] * y[j * stride]; });
    store<T, W>(wide + e * W, (first ? Vec<T, W>{} : load<T, W>(wide + e * W)) + g * r);
    if (grad_g) {
      T* to = grad_g + list.row[e] * grad_g_row;
      store<T, W>(to, (kAdd ? load<T, W>(to) : Vec<T, W>{}) + r * p[e]);
    }
    if (NF > 1 && wide_y) {
      const Vec<T, W> gp = g * p[e];
      T* to = wide_y + (e * kMaxFilters + kFirst) * W;
      unroll<NF>([&](auto j) DITKERNELS_UNROLLED { store<T, W>(to + j * W, load<T, W>(to + j * W) + u[j] * gp); });
    }
  }
}

template <class T, int W, bool kAdd>
void value_gradients(const So3Shape& shape, const T* z, const T* harmonics, const T* weighted, int64_t stride,
                     const T* p, const T* v_block, T* grad_v_block, const Senders& list, const Radial<T>& radial,
                     const Radial<T>& grad, int64_t channel, bool first, T* wide, T* wide_y) {
  const auto run = [&](auto filters, int64_t J) DITKERNELS_UNROLLED {
    degree_gradients<T, W, decltype(filters)::kValue, kAdd>(
        shape, z, harmonics, weighted, stride, p, v_block, grad_v_block, list, radial.g + J * radial.g_step + channel,
        radial.g_row, grad.g ? grad.g + J * grad.g_step + channel : nullptr, grad.g_row, first && J == 0, wide, wide_y);
  };
  run(Constant<1>{}, 0);
  if (shape.degrees > 1) run(Constant<3>{}, 1);
  if (shape.degrees > 2) run(Constant<5>{}, 2);
}

template <class T>
void weight_harmonics(int64_t count, int64_t stride, int64_t filters, const T* harmonics, const T* p, T* weighted) {
  for (int64_t f = 0; f < filters; ++f) {
    for (int64_t e = 0; e < count; ++e) weighted[f * stride + e] = harmonics[f * stride + e] * p[e];
  }
}

// p from the logits of a head in place (padded slots included); false if no sender is left.
template <class T>
bool normalize(int64_t count, int64_t padded, T* logit, T* lse) {
  *lse = -INFINITY;
  if (count == 0) return false;
  for (int64_t e = count; e < padded; ++e) logit[e] = logit[count - 1];
  const Softmax<T> part = softmax_row<T>(count, padded, -INFINITY, logit);
  if (part.max == -INFINITY) return false;
  *lse = part.max + std::log(part.sum);
  const T factor = T(1) / part.sum;
  for (int64_t e = 0; e < count; ++e) logit[e] *= factor;
  return true;
}

// p = exp(logit - lse) in place (padded slots included); 0 where lse is -inf.
template <class T>
DITKERNELS_LOOP void normalized(int64_t count, int64_t padded, T lse, T* logit) {
  constexpr int W = kRegisterBytes / sizeof(T);
  if (lse == -INFINITY) return zero(logit, padded);
  for (int64_t e = count; e < padded; ++e) logit[e] = lse;
  for (int64_t e = 0; e < padded; e += W) store<T, W>(logit + e, exp_nonpositive<W>(load<T, W>(logit + e) - lse));
}

inline int64_t padded_count(int64_t count) { return (count + kSlotPadding - 1) / kSlotPadding * kSlotPadding; }

}  // namespace
