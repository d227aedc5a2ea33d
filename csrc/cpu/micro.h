// One-head building blocks. A head's channels are split into blocks of NV vectors of W lanes that live in registers;
// D = blocks * NV * W exactly, so there are no channel tails. Rows are (., D) with unit stride, chosen by pointer or by
// sender number.
#pragma once

#include "plan.h"
#include "simd.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace {

using namespace ditkernels;

// Hands out 64-byte aligned pieces of a scratch block; with base == nullptr it only counts. Under the address sanitizer
// what lies between the pieces may not be touched.
class Carver {
 public:
  explicit Carver(char* base) : base_(base) {}
  template <class T>
  T* take(int64_t count) {
    const int64_t bytes = count * static_cast<int64_t>(sizeof(T)), begin = used_;
    used_ += (bytes + kGap + 63) / 64 * 64;
    if (!base_) return nullptr;
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(base_ + begin, bytes);
    __asan_poison_memory_region(base_ + begin + bytes, used_ - begin - bytes);
#endif
    return reinterpret_cast<T*>(base_ + begin);
  }
  int64_t used() const { return used_; }

 private:
#ifdef __SANITIZE_ADDRESS__
  static constexpr int64_t kGap = 64;
#else
  static constexpr int64_t kGap = 0;
#endif
  char* base_;
  int64_t used_ = 0;
};

// dot[e] = sum_d x[row_x[e]][d] * y[row_y[e]][d] for the slots e < count (a multiple of kSlotPadding), rows of D
// channels.
template <class T, int W, int NV>
DITKERNELS_LOOP void dot_rows(int64_t count, int64_t D, const T* x, const int32_t* row_x, const T* y,
                              const int32_t* row_y, T* dot) {
  using B = Block<T, W, NV>;
  for (int64_t e = 0; e < count; e += W) {
    Vec<T, W> sum[W];
    unroll<W>([&](auto i) DITKERNELS_UNROLLED {
      const T *xi = x + row_x[e + i] * D, *yi = y + row_y[e + i] * D;
      sum[i] = (B::load(xi) * B::load(yi)).sum();
      for (int64_t d = B::kSize; d < D; d += B::kSize) sum[i] += (B::load(xi + d) * B::load(yi + d)).sum();
    });
    store<T, W>(dot + e, TransposeSum<T, W>::apply(sum));
  }
}

template <class T>
struct Softmax {
  T max, sum;
};

// p = exp(logit - max) in place, 0 in the slots from `count` on; those hold repeats of a valid logit on entry. The
// maximum includes `before`, that of earlier tiles. If it is -inf, no sender is allowed (the row is left alone); NaN
// logits give NaN.
template <class T>
DITKERNELS_LOOP Softmax<T> softmax_row(int64_t count, int64_t padded, T before, T* logit) {
  constexpr int W = kRegisterBytes / sizeof(T);
  Vec<T, W> m = load<T, W>(logit);
  for (int64_t e = W; e < padded; e += W) {
    const Vec<T, W> x = load<T, W>(logit + e);
    m = m > x ? m : x;
  }
  const T here = max_lanes<T, W>(m), max = here <= before ? before : here;
  if (max == -INFINITY) return {max, T(0)};
  for (int64_t e = count; e < padded; ++e) logit[e] = -INFINITY;
  Vec<T, W> s{};
  for (int64_t e = 0; e < padded; e += W) {
    const Vec<T, W> p = exp_nonpositive<W>(load<T, W>(logit + e) - max);
    store<T, W>(logit + e, p);
    s += p;
  }
  return {max, sum_lanes<T, W>(s)};
}

// Backward of the softmax of one receiver: logit -> p = exp(logit - lse), grad -> ds = p (dp - delta), where grad holds
// dp = d out . v b on entry and delta = sum_c out_c dout_c. Both are 0 in the slots from `count` on.
template <class T>
DITKERNELS_LOOP void softmax_gradient(int64_t count, int64_t padded, T lse, T delta, T* logit, T* grad) {
  constexpr int W = kRegisterBytes / sizeof(T);
  for (int64_t e = 0; e < padded; e += W) {
    const Vec<T, W> p = exp_nonpositive<W>(load<T, W>(logit + e) - lse);
    store<T, W>(logit + e, p);
    store<T, W>(grad + e, p * (load<T, W>(grad + e) - delta));
  }
  for (int64_t e = count; e < padded; ++e) logit[e] = grad[e] = T(0);
}

template <class T>
DITKERNELS_INLINE void copy_row(T* to, const T* from, int64_t count) {
  for (int64_t d = 0; d < count; ++d) to[d] = from[d];
}

// The same for one head, D channels in whole blocks.
template <class T, int W, int NV>
DITKERNELS_INLINE void copy_head(T* to, const T* from, int64_t D) {
  using B = Block<T, W, NV>;
  for (int64_t d = 0; d < D; d += B::kSize) B::load(from + d).store(to + d);
}

template <class T, int W, int NV>
DITKERNELS_INLINE void add_head(T* to, const T* from, int64_t D) {
  using B = Block<T, W, NV>;
  for (int64_t d = 0; d < D; d += B::kSize) (B::load(to + d) + B::load(from + d)).store(to + d);
}

template <class T>
DITKERNELS_INLINE void add_row(T* to, const T* from, int64_t count) {
  for (int64_t d = 0; d < count; ++d) to[d] += from[d];
}

template <class T>
DITKERNELS_INLINE void zero(T* to, int64_t count) {
  for (int64_t d = 0; d < count; ++d) to[d] = T(0);
}

template <class T>
DITKERNELS_INLINE T dot(int64_t count, const T* x, const T* y) {
  constexpr int W = kRegisterBytes / sizeof(T);
  Vec<T, W> sum{};
  int64_t d = 0;
  for (; d + W <= count; d += W) sum += load<T, W>(x + d) * load<T, W>(y + d);
  T s = sum_lanes<T, W>(sum);
  for (; d < count; ++d) s += x[d] * y[d];
  return s;
}

}  // namespace
