// The logit side of so3_attention of some heads of one receiver, see heads.h. Included by the kernel files only.
//
//   logit_e = scale sum_{x, m in x, c} q_mc k_emc a_exc
//
// Backward: ds = p (dp - delta),
//   da_x = scale ds sum_m q_m k_m,   dq_m += scale ds a_x k_m,   dk_m += scale ds a_x q_m.
#pragma once

#include "heads.h"

namespace {

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

}  // namespace
