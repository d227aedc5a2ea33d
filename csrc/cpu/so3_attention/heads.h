// so3_attention of one head of one receiver over a list of senders. Included by the kernel files only.
//
//   logit_e = scale sum_{x, m in x, c} q_mc k_emc a_exc                  (e: listed senders, c: channels of a head)
//   S_{F,n} = sum_e p_e Y_eF g_e,J(F) v_en                               (F: filter components, n: value components)
//   out_m   = sum over couplings (path, F, n, m) of w_path coefficient S_{F,n}
//
// The Clebsch-Gordan sums stand outside of the loop over senders. Queries and keys of the molecule are packed head by
// head, (H, atoms, M, D): a head's part of an atom is one piece of memory, and not M pieces at a power of 2, which
// would meet in few sets of the cache. Values are packed in blocks of one vector, (C / W, atoms, M, W), so that a
// block stays in the first-level cache while it is used; the sums S of a block live in registers.
// Backward, with Z_{F,n} = sum over couplings of w coefficient dout_m and U_F = sum_n Z_{F,n} v_n:
//   dp = sum_cF g_J(F) Y_F U_F,   dg_J = p sum_{F in J} Y_F U_F,   dY_F = p sum_c g_J(F) U_F,
//   dv_n += sum_F p g_J(F) Y_F Z_{F,n},   dw_path += coefficient S_{F,n} dout_m,
//   ds = p (dp - delta),   da_x = scale ds sum_m q_m k_m,   dq_m += scale ds a_x k_m,   dk_m += scale ds a_x q_m.
#pragma once

#include "../micro.h"
#include "plan.h"

namespace {

// What is asked for while a row of radial weights is read from memory.
constexpr int64_t kRowsAhead = 8;

// Senders of one receiver, and the rows of their radial weights.
struct Senders {
  int64_t count;
  const int32_t *sender, *row;
};

// Radial weights or their gradients: part x of row i is at base + i * row + x * step, or nowhere (base null).
template <class T>
struct Radial {
  T* base;
  int64_t row, step;
};

// (rows, C) times a factor -> (C / width, rows, width).
template <class T, int W>
void pack_channels(int64_t rows, int64_t C, int64_t width, T factor, const T* from, T* to) {
  for (int64_t c = 0; c < C; c += width) {
    for (int64_t r = 0; r < rows; ++r, to += width) {
      for (int64_t d = 0; d < width; d += W) store<T, W>(to + d, load<T, W>(from + r * C + c + d) * factor);
    }
  }
}

// And back, to rows that are `step` apart.
template <class T, int W>
void unpack_channels(int64_t rows, int64_t C, int64_t width, T factor, const T* from, int64_t step, T* to) {
  for (int64_t c = 0; c < C; c += width) {
    for (int64_t r = 0; r < rows; ++r, from += width) {
      for (int64_t d = 0; d < width; d += W) store<T, W>(to + r * step + c + d, load<T, W>(from + d) * factor);
    }
  }
}

// Token tensors of an item, packed, and the weights of its couplings.
template <class T>
struct So3Tokens {
  T *query, *grad_query;  // (H, rows, M, D), times scale; gradient of what is times scale
  T *key, *grad_key;      // (H, size, M, D)
  T *value, *grad_value;  // (C / W, size, M, W)
  T* coupling;            // (C / W, couplings, W) weight times coefficient of shape.by_output; forward only
  // Backward only, of the couplings by path: the first of each path (paths + 1), and of each its coefficient and its
  // places in S and in the gradient of an output.
  int32_t *path_start, *product_at, *out_at;
  T* coefficient;
};

template <class T>
void lay_out(So3Tokens<T>& t, Carver& carver, const Problem& problem, const Item& item, const So3Shape& shape,
             bool backward) {
  const int64_t C = problem.channels, query = item.rows * shape.qk * C, key = item.size * shape.qk * C,
                value = item.size * shape.values * C;
  t = {};
  t.query = carver.take<T>(query);
  t.key = carver.take<T>(key);
  t.value = carver.take<T>(value);
  if (!backward) {
    t.coupling = carver.take<T>(shape.couplings * C);
    return;
  }
  t.grad_query = carver.take<T>(query);
  t.grad_key = carver.take<T>(key);
  t.grad_value = carver.take<T>(value);
  t.path_start = carver.take<int32_t>(shape.paths + 1);
  t.product_at = carver.take<int32_t>(shape.couplings);
  t.out_at = carver.take<int32_t>(shape.couplings);
  t.coefficient = carver.take<T>(shape.couplings);
}

template <class T, int W>
void pack_tokens(const So3Tokens<T>& t, const Problem& problem, const Item& item, const So3Shape& shape) {
  const int64_t C = problem.channels, D = problem.dim, qk = shape.qk, values = shape.values;
  const T *query = static_cast<const T*>(problem.query) + (item.token + item.first) * qk * C,
          *key = static_cast<const T*>(problem.key) + item.token * qk * C,
          *value = static_cast<const T*>(problem.value) + item.token * values * C;
  pack_channels<T, W>(item.rows * qk, C, D, static_cast<T>(problem.scale), query, t.query);
  pack_channels<T, W>(item.size * qk, C, D, T(1), key, t.key);
  pack_channels<T, W>(item.size * values, C, W, T(1), value, t.value);
  if (t.coupling) {
    const T* weight = static_cast<const T*>(shape.path_weight);
    T* to = t.coupling;
    for (int64_t c = 0; c < C; c += W) {
      for (int64_t i = 0; i < shape.couplings; ++i, to += W)
        store<T, W>(to, load<T, W>(weight + shape.by_output[i].path * C + c) *
                            static_cast<T>(shape.by_output[i].coefficient));
    }
    return;
  }
  int64_t paths = 0;
  for (int64_t i = 0; i < shape.couplings; ++i) {
    const Coupling& c = shape.coupling[i];
    while (paths <= c.path) t.path_start[paths++] = static_cast<int32_t>(i);
    t.product_at[i] = static_cast<int32_t>((c.filter * values + c.value) * W);
    t.out_at[i] = static_cast<int32_t>(c.output * C);
    t.coefficient[i] = static_cast<T>(c.coefficient);
  }
  while (paths <= shape.paths) t.path_start[paths++] = static_cast<int32_t>(shape.couplings);
  zero(t.grad_query, item.rows * qk * C);
  zero(t.grad_key, item.size * qk * C);
  zero(t.grad_value, item.size * values * C);
}

template <class T, int W>
void unpack_gradients(const So3Tokens<T>& t, const Problem& problem, const Item& item, const So3Shape& shape,
                      const So3Grad& grad) {
  const int64_t C = problem.channels, D = problem.dim, qk = shape.qk, values = shape.values;
  T* query = static_cast<T*>(problem.grad_query) + (item.token + item.first) * qk * C;
  unpack_channels<T, W>(item.rows * qk, C, D, static_cast<T>(problem.scale), t.grad_query, C, query);
  unpack_channels<T, W>(item.size * qk, C, D, T(1), t.grad_key, C, static_cast<T*>(grad.key));
  unpack_channels<T, W>(item.size * values, C, W, T(1), t.grad_value, C, static_cast<T*>(grad.value));
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

// Calls f(Constant) with the number of components of irrep x: loops over them are written out.
template <class F>
DITKERNELS_INLINE void with_irrep(const So3Shape& shape, int64_t x, const F& f) {
  const int32_t count = shape.irrep_start[x + 1] - shape.irrep_start[x];
  if (count == 1) return f(Constant<1>{});
  if (count == 3) return f(Constant<3>{});
  f(Constant<5>{});
}

// Calls f(Constant) with the vectors of a head for the usual numbers of them, or with 0.
template <class T, int W, class F>
DITKERNELS_INLINE void with_head(int64_t D, const F& f) {
  if constexpr (W > 1 && sizeof(T) == sizeof(float)) {
    if (D == 2 * W) return f(Constant<2>{});
    if (D == 4 * W) return f(Constant<4>{});
  }
  f(Constant<0>{});
}

// Calls f(d) for every vector of a head, written out if their number B is known.
template <int W, int B, class F>
DITKERNELS_INLINE void for_vectors(int64_t D, const F& f) {
  if constexpr (B > 0) {
    unroll<B>([&](auto b) DITKERNELS_UNROLLED { f(int64_t{b * W}); });
  } else {
    for (int64_t d = 0; d < D; d += W) f(d);
  }
}

// ---- logits ----

// Adds a sum_m q_m k_m over the N components of one irrep, lane by lane; E senders at once share the loads of q.
template <class T, int W, int B, int E, int N, bool kStream>
DITKERNELS_INLINE void add_irrep(int64_t D, const T* q, const T* const* k, const T* const* a, int64_t ahead,
                                 Vec<T, W>* sum) {
  for_vectors<W, B>(D, [&](int64_t d) DITKERNELS_UNROLLED {
    Vec<T, W> part[E];
    unroll<N>([&](auto m) DITKERNELS_UNROLLED {
      const Vec<T, W> qm = load<T, W>(q + m * D + d);
      unroll<E>([&](auto i) DITKERNELS_UNROLLED {
        const Vec<T, W> km = load<T, W>(k[i] + m * D + d);
        part[i] = m == 0 ? qm * km : part[i] + qm * km;
      });
    });
    unroll<E>([&](auto i) DITKERNELS_UNROLLED {
      sum[i] += part[i] * load<T, W>(a[i] + d);
      if constexpr (kStream) __builtin_prefetch(a[i] + ahead + d);
    });
  });
}

template <class T, int W, int B, int E, bool kStream>
DITKERNELS_INLINE void add_logits(const So3Shape& shape, int64_t head, const T* q, const T* key, const int32_t* sender,
                                  const int32_t* row, const Radial<T>& radial, T* wide) {
  const int64_t D = B ? B * W : head;
  const T *k[E], *a[E];
  Vec<T, W> sum[E];
  unroll<E>([&](auto i) DITKERNELS_UNROLLED {
    k[i] = key + sender[i] * shape.qk * D;
    a[i] = radial.base + row[i] * radial.row;
    sum[i] = Vec<T, W>{};
  });
  for (int64_t x = 0; x < shape.irreps; ++x) {
    with_irrep(shape, x, [&](auto n) DITKERNELS_UNROLLED {
      constexpr int N = decltype(n)::kValue;
      add_irrep<T, W, B, E, N, kStream>(D, q, k, a, kRowsAhead * radial.row, sum);
      q += N * D;
      unroll<E>([&](auto i) DITKERNELS_UNROLLED { k[i] += N * D, a[i] += radial.step; });
    });
  }
  unroll<E>([&](auto i) DITKERNELS_UNROLLED { store<T, W>(wide + i * W, sum[i]); });
}

// Logits of `heads` heads, lane by lane: those of a head are `wide_step` behind those of the one before, its query and
// key query_step and key_step, its channels of a D. Senders are the outer loop, so that rows of a are read in order;
// kStream: from memory.
template <class T, int W, bool kStream>
DITKERNELS_LOOP void wide_logits(const So3Shape& shape, int64_t heads, int64_t D, const T* query, int64_t query_step,
                                 const T* key, int64_t key_step, const Senders& list, const Radial<T>& a, T* wide,
                                 int64_t wide_step) {
  with_head<T, W>(D, [&](auto vectors) DITKERNELS_UNROLLED {
    const auto run = [&](auto senders, int64_t e) DITKERNELS_UNROLLED {
      for (int64_t h = 0; h < heads; ++h)
        add_logits<T, W, decltype(vectors)::kValue, decltype(senders)::kValue, kStream>(
            shape, D, query + h * query_step, key + h * key_step, list.sender + e, list.row + e,
            {a.base + h * D, a.row, a.step}, wide + h * wide_step + e * W);
    };
    int64_t e = 0;
    for (; e + 4 <= list.count; e += 4) run(Constant<4>{}, e);
    for (; e < list.count; ++e) run(Constant<1>{}, e);
  });
}

// With ds in place of p, for the N components of one irrep and E senders: adds to dq and dk; adds to da, or writes it
// to memory, unless null.
template <class T, int W, int B, int E, int N, bool kAdd>
DITKERNELS_INLINE void irrep_gradients(int64_t D, const T* ds, const T* q, T* dq, const T* const* k, T* const* dk,
                                       const T* const* a, T* const* da, int64_t ahead) {
  for_vectors<W, B>(D, [&](int64_t d) DITKERNELS_UNROLLED {
    Vec<T, W> weight[E], part[E];
    unroll<E>([&](auto i) DITKERNELS_UNROLLED {
      weight[i] = load<T, W>(a[i] + d) * ds[i];
      part[i] = Vec<T, W>{};
      if constexpr (!kAdd) __builtin_prefetch(a[i] + ahead + d);
    });
    unroll<N>([&](auto m) DITKERNELS_UNROLLED {
      const int64_t at = m * D + d;
      const Vec<T, W> qm = load<T, W>(q + at);
      Vec<T, W> sum = load<T, W>(dq + at);
      unroll<E>([&](auto i) DITKERNELS_UNROLLED {
        const Vec<T, W> km = load<T, W>(k[i] + at);
        part[i] += qm * km;
        sum += weight[i] * km;
        store<T, W>(dk[i] + at, load<T, W>(dk[i] + at) + weight[i] * qm);
      });
      store<T, W>(dq + at, sum);
    });
    if (!da[0]) return;
    unroll<E>([&](auto i) DITKERNELS_UNROLLED {
      store<T, W>(da[i] + d, (kAdd ? load<T, W>(da[i] + d) : Vec<T, W>{}) + part[i] * ds[i]);
      if constexpr (!kAdd) __builtin_prefetch(da[i] + ahead + d, 1);
    });
  });
}

template <class T, int W, int B, int E, bool kAdd>
DITKERNELS_INLINE void add_logit_gradients(const So3Shape& shape, int64_t head, const T* ds, const T* q, T* dq,
                                           const T* key, T* grad_key, const int32_t* sender, const int32_t* row,
                                           const Radial<T>& radial, const Radial<T>& grad) {
  const int64_t D = B ? B * W : head;
  const T *k[E], *a[E];
  T *dk[E], *da[E];
  unroll<E>([&](auto i) DITKERNELS_UNROLLED {
    k[i] = key + sender[i] * shape.qk * D;
    dk[i] = grad_key + sender[i] * shape.qk * D;
    a[i] = radial.base + row[i] * radial.row;
    da[i] = grad.base ? grad.base + row[i] * grad.row : nullptr;
  });
  for (int64_t x = 0; x < shape.irreps; ++x) {
    with_irrep(shape, x, [&](auto n) DITKERNELS_UNROLLED {
      constexpr int N = decltype(n)::kValue;
      irrep_gradients<T, W, B, E, N, kAdd>(D, ds, q, dq, k, dk, a, da, kRowsAhead * radial.row);
      q += N * D, dq += N * D;
      unroll<E>([&](auto i) DITKERNELS_UNROLLED {
        k[i] += N * D, dk[i] += N * D, a[i] += radial.step;
        if (da[i]) da[i] += grad.step;
      });
    });
  }
}

// The logit side of `heads` heads, as in wide_logits: ds of a head is ds_step behind that of the one before.
template <class T, int W, bool kAdd>
DITKERNELS_LOOP void logit_gradients(const So3Shape& shape, int64_t heads, int64_t D, const T* ds, int64_t ds_step,
                                     const T* query, T* grad_query, int64_t query_step, const T* key, T* grad_key,
                                     int64_t key_step, const Senders& list, const Radial<T>& a, const Radial<T>& da) {
  with_head<T, W>(D, [&](auto vectors) DITKERNELS_UNROLLED {
    const auto run = [&](auto senders, int64_t e) DITKERNELS_UNROLLED {
      constexpr int B = decltype(vectors)::kValue, E = decltype(senders)::kValue;
      for (int64_t h = 0; h < heads; ++h) {
        T s[E];
        unroll<E>([&](auto i) DITKERNELS_UNROLLED { s[i] = ds[h * ds_step + e + i]; });
        add_logit_gradients<T, W, B, E, kAdd>(shape, D, s, query + h * query_step, grad_query + h * query_step,
                                              key + h * key_step, grad_key + h * key_step, list.sender + e,
                                              list.row + e, {a.base + h * D, a.row, a.step},
                                              {da.base ? da.base + h * D : nullptr, da.row, da.step});
      }
    };
    int64_t e = 0;
    for (; e + 2 <= list.count; e += 2) run(Constant<2>{}, e);
    for (; e < list.count; ++e) run(Constant<1>{}, e);
  });
}

// ---- values ----

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
