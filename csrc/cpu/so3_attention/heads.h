// so3_attention of one head of one receiver over a list of senders. Included by the kernel files only.
//
//   logit_e = scale sum_{x, m in x, c} q_mc k_emc a_exc                  (e: listed senders, c: channels of a head)
//   S_{F,n} = sum_e p_e Y_eF g_e,J(F) v_en                               (F: filter components, n: value components)
//   out_m   = sum over couplings (path, F, n, m) of w_path coefficient S_{F,n}
//
// Here: how the tensors of an item are packed, and the softmax; logits.h has the first line, values.h the others.
//
// Queries and keys of the molecule are packed head by head, (H, atoms, M, D): a head's part of an atom is one piece of
// memory, and not M pieces at a power of 2, which would meet in few sets of the cache. Values are packed in blocks of
// one vector, (C / W, atoms, M, W), so that a block stays in the first-level cache while it is used.
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
