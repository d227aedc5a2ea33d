// Fixed-width vectors on the compiler's vector extensions, and the few operations the kernels need.
// Included by the kernel files only: everything is in an anonymous namespace, so no code compiled for a newer
// instruction set can be picked by the linker for an older one.
#pragma once

#include <cmath>
#include <cstdint>

#define DITKERNELS_INLINE inline __attribute__((always_inline))
#define DITKERNELS_UNROLLED __attribute__((always_inline))
// Inner loops are functions of their own, so that their counters and pointers get registers.
#define DITKERNELS_LOOP __attribute__((noinline))

namespace {

#if defined(DITKERNELS_AVX512)  // set for this level's files, whose width can be compiled for AVX2 too
constexpr int kRegisterBytes = 64;
#elif defined(__AVX__)
constexpr int kRegisterBytes = 32;
#else
constexpr int kRegisterBytes = 16;
#endif

template <class T, int W>
struct VecOf {
  typedef T type __attribute__((vector_size(W * sizeof(T))));
  typedef T unaligned __attribute__((vector_size(W * sizeof(T)), aligned(alignof(T)), may_alias));
};

template <class T, int W>
using Vec = typename VecOf<T, W>::type;

template <class T, int W>
DITKERNELS_INLINE Vec<T, W> load(const T* p) {
  return *reinterpret_cast<const typename VecOf<T, W>::unaligned*>(p);
}

template <class T, int W>
DITKERNELS_INLINE void store(T* p, Vec<T, W> x) {
  *reinterpret_cast<typename VecOf<T, W>::unaligned*>(p) = x;
}

template <class T, int W>
DITKERNELS_INLINE Vec<T, W> splat(T x) {
  return x - Vec<T, W>{};  // a broadcast: subtracting 0 is exact for every x and leaves no instruction
}

// f(0), ..., f(N - 1), written out: arrays of vectors indexed by a compile-time constant stay in registers.
template <int I>
struct Constant {
  static constexpr int kValue = I;
  constexpr operator int() const { return I; }
};

template <int N, int I = 0, class F>
DITKERNELS_INLINE void unroll(const F& f) {
  if constexpr (I < N) {
    f(Constant<I>{});
    unroll<N, I + 1>(f);
  }
}

// NV vectors of W neighbouring channels, in registers.
template <class T, int W, int NV>
struct Block {
  static constexpr int kSize = W * NV;
  Vec<T, W> v[NV];

  static DITKERNELS_INLINE Block load(const T* p) {
    Block x;
    unroll<NV>([&](auto i) DITKERNELS_UNROLLED { x.v[i] = ::load<T, W>(p + i * W); });
    return x;
  }
  static DITKERNELS_INLINE Block zero() {
    Block x;
    unroll<NV>([&](auto i) DITKERNELS_UNROLLED { x.v[i] = Vec<T, W>{}; });
    return x;
  }
  DITKERNELS_INLINE void store(T* p) const {
    unroll<NV>([&](auto i) DITKERNELS_UNROLLED { ::store<T, W>(p + i * W, v[i]); });
  }
  friend DITKERNELS_INLINE Block operator+(const Block& x, const Block& y) {
    Block z;
    unroll<NV>([&](auto i) DITKERNELS_UNROLLED { z.v[i] = x.v[i] + y.v[i]; });
    return z;
  }
  friend DITKERNELS_INLINE Block operator*(const Block& x, const Block& y) {
    Block z;
    unroll<NV>([&](auto i) DITKERNELS_UNROLLED { z.v[i] = x.v[i] * y.v[i]; });
    return z;
  }
  friend DITKERNELS_INLINE Block operator*(const Block& x, T y) {
    const Vec<T, W> w = splat<T, W>(y);
    Block z;
    unroll<NV>([&](auto i) DITKERNELS_UNROLLED { z.v[i] = x.v[i] * w; });
    return z;
  }
  // Sum of the vectors.
  DITKERNELS_INLINE Vec<T, W> sum() const {
    Vec<T, W> s = v[0];
    unroll<NV - 1>([&](auto i) DITKERNELS_UNROLLED { s += v[i + 1]; });
    return s;
  }
};

// Transposing reduction: returns the vector whose lane i is the sum over the lanes of x[i].
// Each step adds neighbouring blocks of `S` lanes of two vectors, so W vectors need W - 1 steps of two shuffles.
constexpr int fold_lane(int lane, int width, int block) {
  const int group = lane / (2 * block), in = lane % (2 * block);
  return in < block ? group * 2 * block + in : width + group * 2 * block + in - block;
}

template <class T, int W, int S, class Lanes>
struct FoldShuffle;

template <int... L>
struct Lanes {};

template <int N, int... L>
struct MakeLanes : MakeLanes<N - 1, N - 1, L...> {};
template <int... L>
struct MakeLanes<0, L...> {
  using type = Lanes<L...>;
};

template <class T, int W, int S, int... L>
struct FoldShuffle<T, W, S, Lanes<L...>> {
  static DITKERNELS_INLINE Vec<T, W> apply(Vec<T, W> x, Vec<T, W> y) {
    return __builtin_shufflevector(x, y, fold_lane(L, W, S)...) +
           __builtin_shufflevector(x, y, (fold_lane(L, W, S) + S)...);
  }
};

template <class T, int W, int S>
DITKERNELS_INLINE Vec<T, W> fold(Vec<T, W> x, Vec<T, W> y) {
  return FoldShuffle<T, W, S, typename MakeLanes<W>::type>::apply(x, y);
}

template <class T, int W, int S = W / 2>
struct TransposeSum {
  // Sums x[0], x[step], ... (2 S of them) so that after the step each lane block of size 2 S holds finished partial
  // sums.
  static DITKERNELS_INLINE Vec<T, W> apply(const Vec<T, W>* x) {
    return fold<T, W, S>(TransposeSum<T, W, S / 2>::apply(x), TransposeSum<T, W, S / 2>::apply(x + S));
  }
};
template <class T, int W>
struct TransposeSum<T, W, 0> {
  static DITKERNELS_INLINE Vec<T, W> apply(const Vec<T, W>* x) { return x[0]; }
};

template <class T, int W>
DITKERNELS_INLINE T sum_lanes(Vec<T, W> x) {
  T s = 0;
  for (int i = 0; i < W; ++i) s += x[i];
  return s;
}

template <class T, int W>
DITKERNELS_INLINE T max_lanes(Vec<T, W> x) {
  T m = x[0];
  for (int i = 1; i < W; ++i) m = x[i] > m ? x[i] : m;
  return m;
}

// exp(x) for x <= 0, about 1 ulp; 0 below the smallest normal number, so exp(-inf) = 0. NaN stays NaN.
// Reduction x = n ln 2 + r, |r| <= ln 2 / 2 (Cody and Waite), then a polynomial of degree 7 (Taylor, error 4e-9
// relative).
template <int W>
DITKERNELS_INLINE Vec<float, W> exp_nonpositive(Vec<float, W> x) {
  typedef int32_t Int __attribute__((vector_size(W * sizeof(int32_t))));
  const Vec<float, W> lowest = splat<float, W>(-87.33654f);
  const Int underflow = x < lowest;
  const Vec<float, W> clamped = underflow ? lowest : x;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low mantissa bits
  const Vec<float, W> shifted = clamped * 1.44269504f + magic;
  const Vec<float, W> n = shifted - magic;
  Vec<float, W> r = clamped - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Vec<float, W> p = splat<float, W>(1.0f / 5040);
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Int exponent = (reinterpret_cast<Int>(shifted) - 0x4B400000 + 127) << 23;
  p = p * reinterpret_cast<Vec<float, W>>(exponent);
  return underflow ? Vec<float, W>{} : p;
}

template <int W>
DITKERNELS_INLINE Vec<double, W> exp_nonpositive(Vec<double, W> x) {
  Vec<double, W> y;
  for (int i = 0; i < W; ++i) y[i] = std::exp(x[i]);
  return y;
}

}  // namespace
