// The gate of GELU. Included by the kernel files only.
#pragma once

#include "../simd.h"

namespace {

// 1 / (1 + exp(-z)) without overflow.
template <class T, int W>
DITKERNELS_INLINE Vec<T, W> sigmoid(Vec<T, W> z) {
  const Vec<T, W> size = z < T(0) ? -z : z;
  const Vec<T, W> e = exp_nonpositive<W>(-size);
  const Vec<T, W> one = splat<T, W>(T(1));
  return (z < T(0) ? e : one) / (one + e);
}

// g(s), where s g(s) is the tanh form of GELU.
template <class T, int W>
DITKERNELS_INLINE Vec<T, W> gelu_gate(Vec<T, W> s) {
  const T factor = T(1.5957691216057308);  // sqrt(8 / pi)
  return sigmoid<T, W>(factor * (s + T(0.044715) * s * s * s));
}

}  // namespace
