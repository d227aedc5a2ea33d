// The kernels of one instruction-set level. Included by the kernel files only.
#pragma once

#include "../simd.h"
#include "atomwise.h"
#include "dense.h"

namespace {

using ditkernels::NormKind;
using ditkernels::Transition;

// Calls f(c, width) for all channels: whole vectors, then one channel at a time.
template <int W, class F>
DITKERNELS_INLINE void for_channels(int64_t channels, const F& f) {
  int64_t c = 0;
  for (; c + W <= channels; c += W) f(c, Constant<W>{});
  for (; c < channels; ++c) f(c, Constant<1>{});
}

// A vector of one lane is a scalar.
template <class T, int W>
DITKERNELS_INLINE auto get(const T* p) {
  if constexpr (W == 1) {
    return *p;
  } else {
    return load<T, W>(p);
  }
}

template <class T, int W, class V>
DITKERNELS_INLINE void put(T* p, V x) {
  if constexpr (W == 1) {
    *p = x;
  } else {
    store<T, W>(p, x);
  }
}

// Sum of f(c, width) over all channels.
template <class T, int W, class F>
DITKERNELS_INLINE T sum_channels(int64_t channels, const F& f) {
  Vec<T, W> sum{};
  T rest = 0;
  for_channels<W>(channels, [&](int64_t c, auto width) DITKERNELS_UNROLLED {
    if constexpr (decltype(width)::kValue == 1) {
      rest += f(c, width);
    } else {
      sum += f(c, width);
    }
  });
  return rest + sum_lanes<T, W>(sum);
}

template <class T>
DITKERNELS_LOOP void add_gated(int64_t channels, T* state, const T* update, const T* bias, const T* gate) {
  constexpr int W = kRegisterBytes / sizeof(T);
  for_channels<W>(channels, [&](int64_t c, auto width) DITKERNELS_UNROLLED {
    constexpr int N = decltype(width)::kValue;
    auto u = get<T, N>(update + c);
    if (bias) u += get<T, N>(bias + c);
    put<T, N>(state + c, get<T, N>(state + c) + get<T, N>(gate + c) * u);
  });
}

// The scalar: (x - mean) / sqrt(var + eps) * (1 + scale) + shift.
template <class T>
DITKERNELS_LOOP void layer_norm(int64_t channels, T eps, const T* x, const T* scale, const T* shift, T* out) {
  constexpr int W = kRegisterBytes / sizeof(T);
  const T mean = sum_channels<T, W>(channels, [&](int64_t c, auto width) DITKERNELS_UNROLLED {
    return get<T, decltype(width)::kValue>(x + c);
  }) / channels;
  const T variance = sum_channels<T, W>(channels, [&](int64_t c, auto width) DITKERNELS_UNROLLED {
    const auto d = get<T, decltype(width)::kValue>(x + c) - mean;
    return d * d;
  }) / channels;
  const T factor = 1 / std::sqrt(variance + eps);
  for_channels<W>(channels, [&](int64_t c, auto width) DITKERNELS_UNROLLED {
    constexpr int N = decltype(width)::kValue;
    const auto unit = (get<T, N>(x + c) - mean) * factor;
    put<T, N>(out + c, unit * (get<T, N>(scale + c) + T(1)) + get<T, N>(shift + c));
  });
}

// The mean over channels of sum_m x_mc^2.
template <class T>
DITKERNELS_LOOP T mean_square(int64_t components, int64_t channels, const T* x) {
  constexpr int W = kRegisterBytes / sizeof(T);
  return sum_channels<T, W>(components * channels, [&](int64_t c, auto width) DITKERNELS_UNROLLED {
    const auto value = get<T, decltype(width)::kValue>(x + c);
    return value * value;
  }) / channels;
}

// The variance over channels of n_c = sqrt(sum_m x_mc^2), 0 where n_c^2 <= eps.
template <class T>
DITKERNELS_LOOP T norm_variance(int64_t components, int64_t channels, T eps, const T* x) {
  const auto norm = [&](int64_t c) {
    T square = 0;
    for (int64_t m = 0; m < components; ++m) square += x[m * channels + c] * x[m * channels + c];
    return square > eps ? std::sqrt(square) : T(0);
  };
  T sum = 0, squares = 0;
  for (int64_t c = 0; c < channels; ++c) sum += norm(c);
  const T mean = sum / channels;
  for (int64_t c = 0; c < channels; ++c) {
    const T d = norm(c) - mean;
    squares += d * d;
  }
  return squares / channels;
}

template <class T>
DITKERNELS_LOOP void scale_by(int64_t channels, T factor, const T* x, const T* scale, T* out) {
  constexpr int W = kRegisterBytes / sizeof(T);
  for_channels<W>(channels, [&](int64_t c, auto width) DITKERNELS_UNROLLED {
    constexpr int N = decltype(width)::kValue;
    put<T, N>(out + c, get<T, N>(x + c) * factor * (get<T, N>(scale + c) + T(1)));
  });
}

template <class T>
void transition_rows(const Transition& p, int64_t begin, int64_t end) {
  const int64_t C = p.channels;
  int64_t all = 0;
  for (int64_t x = 0; x < p.irreps.count; ++x) all += p.irreps.components[x];
  for (int64_t t = begin; t < end; ++t) {
    const T* row = static_cast<const T*>(p.table) + p.rows[t] * p.row_size;
    int64_t at = t * all * C;
    for (int64_t x = 0; x < p.irreps.count; ++x) {
      const int64_t M = p.irreps.components[x];
      const bool scalar = p.irreps.kind[x] == NormKind::LayerNorm;
      T* state = static_cast<T*>(p.state) + at;
      if (p.update) {
        const T* bias = scalar ? static_cast<const T*>(p.bias) : nullptr;
        for (int64_t m = 0; m < M; ++m) {
          add_gated(C, state + m * C, static_cast<const T*>(p.update) + at + m * C, bias, row + p.gate + x * C);
        }
      }
      if (p.out) {
        T* out = static_cast<T*>(p.out) + at;
        const T* scale = row + p.scale + x * C;
        const T eps = static_cast<T>(p.irreps.eps[x]);
        if (scalar) {
          layer_norm(C, eps, state, scale, row + p.shift, out);
        } else {
          const bool rms = p.irreps.kind[x] == NormKind::Rms;
          const T square = rms ? mean_square(M, C, state) : norm_variance(M, C, eps, state);
          const T factor = 1 / std::sqrt(square + eps);
          for (int64_t m = 0; m < M; ++m) scale_by(C, factor, state + m * C, scale, out + m * C);
        }
      }
      at += M * C;
    }
  }
}

template <class T>
void pack_weight(int64_t inputs, int64_t outputs, const void* weight, void* packed) {
  pack_b<T>(inputs, outputs, static_cast<const T*>(weight), true, static_cast<T*>(packed));
}

template <class T>
constexpr ditkernels::AtomwiseKernels make_kernels() {
  return {&transition_rows<T>, &packed_size<T>, &pack_weight<T>, &dense_scratch<T>,
          &dense_rows<T>,      &mlp_scratch<T>, &mlp_rows<T>};
}

}  // namespace
