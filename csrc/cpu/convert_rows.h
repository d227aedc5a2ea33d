// Rows of pair tensors between their storage type and the compute type. Included by the kernel files only.
#pragma once

#include "plan.h"
#include "simd.h"

namespace {

using ditkernels::Type;

template <int W>
using U32 = Vec<uint32_t, W>;

template <int W>
DITKERNELS_INLINE Vec<float, W> as_float(U32<W> bits) {
  return reinterpret_cast<Vec<float, W>>(bits);
}

template <int W>
DITKERNELS_INLINE U32<W> as_bits(Vec<float, W> x) {
  return reinterpret_cast<U32<W>>(x);
}

struct BFloat16 {
  template <int W>
  static DITKERNELS_INLINE Vec<float, W> widen(U32<W> x) {
    return as_float<W>(x << 16);
  }
  // Round to nearest even; NaN stays NaN.
  template <int W>
  static DITKERNELS_INLINE U32<W> narrow(Vec<float, W> x) {
    const U32<W> bits = as_bits<W>(x);
    const U32<W> rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    return (bits & 0x7FFFFFFF) > 0x7F800000 ? (bits >> 16 | 0x40) : rounded;
  }
};

struct Half {
  // Shifting the exponent by a multiplication makes subnormal numbers right too.
  template <int W>
  static DITKERNELS_INLINE Vec<float, W> widen(U32<W> x) {
    const U32<W> magnitude = (x & 0x7FFF) << 13;
    const U32<W> scaled = as_bits<W>(as_float<W>(magnitude) * 0x1p112f);
    const U32<W> finite_or_not = magnitude >= (0x7C00u << 13) ? (magnitude | 0x7F800000) : scaled;
    return as_float<W>(finite_or_not | (x & 0x8000) << 16);
  }
  // Round to nearest even, overflow to infinity, NaN stays NaN. Below 2^-14 adding 0.5 aligns the mantissa and rounds
  // it.
  template <int W>
  static DITKERNELS_INLINE U32<W> narrow(Vec<float, W> x) {
    const U32<W> bits = as_bits<W>(x), magnitude = bits & 0x7FFFFFFF;
    const U32<W> normal = ((magnitude + 0xFFF + (magnitude >> 13 & 1)) >> 13) - (112u << 10);
    const U32<W> subnormal = as_bits<W>(as_float<W>(magnitude) + 0.5f) - 0x3F000000;
    U32<W> result = magnitude < 0x38800000 ? subnormal : normal;
    result = magnitude >= 0x477FF000 ? (U32<W>{} + 0x7C00) : result;
    result = magnitude > 0x7F800000 ? (U32<W>{} + 0x7E00) : result;
    return result | (bits >> 16 & 0x8000);
  }
};

template <class Format>
void widen_row(float* to, const uint16_t* from, int64_t count) {
  constexpr int W = kRegisterBytes / 4;
  int64_t c = 0;
  for (; c + W <= count; c += W) {
    store<float, W>(to + c, Format::template widen<W>(__builtin_convertvector((load<uint16_t, W>(from + c)), U32<W>)));
  }
  for (; c < count; ++c) to[c] = Format::template widen<1>(U32<1>{from[c]})[0];
}

template <class Format>
void narrow_row(uint16_t* to, const float* from, int64_t count) {
  constexpr int W = kRegisterBytes / 4;
  int64_t c = 0;
  for (; c + W <= count; c += W) {
    typedef Vec<uint16_t, W> U16;
    store<uint16_t, W>(to + c, __builtin_convertvector((Format::template narrow<W>(load<float, W>(from + c))), U16));
  }
  for (; c < count; ++c) to[c] = static_cast<uint16_t>(Format::template narrow<1>(Vec<float, 1>{from[c]})[0]);
}

// Type in which rows need no conversion for compute type T.
template <class T>
constexpr Type own_type() {
  return sizeof(T) == sizeof(float) ? Type::Float : Type::Double;
}

// Row `row` of a (., count) tensor as compute type, into `to`.
inline void read_row(float* to, const void* base, Type type, int64_t row, int64_t count) {
  if (type == Type::BFloat16) return widen_row<BFloat16>(to, static_cast<const uint16_t*>(base) + row * count, count);
  if (type == Type::Half) return widen_row<Half>(to, static_cast<const uint16_t*>(base) + row * count, count);
  const float* from = static_cast<const float*>(base) + row * count;
  for (int64_t c = 0; c < count; ++c) to[c] = from[c];
}

inline void read_row(double* to, const void* base, Type, int64_t row, int64_t count) {
  const double* from = static_cast<const double*>(base) + row * count;
  for (int64_t c = 0; c < count; ++c) to[c] = from[c];
}

inline void write_row(void* base, Type type, int64_t row, int64_t count, const float* from) {
  if (type == Type::BFloat16) return narrow_row<BFloat16>(static_cast<uint16_t*>(base) + row * count, from, count);
  if (type == Type::Half) return narrow_row<Half>(static_cast<uint16_t*>(base) + row * count, from, count);
  float* to = static_cast<float*>(base) + row * count;
  for (int64_t c = 0; c < count; ++c) to[c] = from[c];
}

inline void write_row(void* base, Type, int64_t row, int64_t count, const double* from) {
  double* to = static_cast<double*>(base) + row * count;
  for (int64_t c = 0; c < count; ++c) to[c] = from[c];
}

inline void zero_row(void* base, Type type, int64_t row, int64_t count) {
  const int64_t bytes = count * (type == Type::Double ? 8 : type == Type::Float ? 4 : 2);
  __builtin_memset(static_cast<char*>(base) + row * bytes, 0, bytes);
}

}  // namespace
