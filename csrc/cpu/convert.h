// Single elements of the storage types, for the driver (kernels convert whole rows).
#pragma once

#include <cstring>

#include "attention.h"

namespace ditkernels {

inline float bfloat16_to_float(uint16_t x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float y;
  std::memcpy(&y, &bits, 4);
  return y;
}

// Round to nearest even; NaN stays NaN.
inline uint16_t float_to_bfloat16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

inline float half_to_float(uint16_t x) {
  const uint32_t sign = static_cast<uint32_t>(x & 0x8000) << 16, exponent = x >> 10 & 31, mantissa = x & 0x3FF;
  float y;
  if (exponent == 0) {
    y = static_cast<float>(mantissa) * 5.9604644775390625e-8f;  // 2^-24
    return sign ? -y : y;
  }
  const uint32_t bits = sign | (exponent == 31 ? 0x7F800000 : (exponent + 112) << 23) | mantissa << 13;
  std::memcpy(&y, &bits, 4);
  return y;
}

// Round to nearest even, overflow to infinity, NaN stays NaN.
inline uint16_t float_to_half(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  bits &= 0x7FFFFFFF;
  if (bits > 0x7F800000) return sign | 0x7E00;
  if (bits >= 0x477FF000) return sign | 0x7C00;  // rounds to 2^16 or more
  if (bits < 0x38800000) {                       // below 2^-14: the sum aligns the mantissa and rounds it
    float y;
    std::memcpy(&y, &bits, 4);
    y += 0.5f;
    std::memcpy(&bits, &y, 4);
    return static_cast<uint16_t>(sign | (bits - 0x3F000000));
  }
  bits += 0xFFF + (bits >> 13 & 1);
  return static_cast<uint16_t>(sign | ((bits >> 13) - (112u << 10)));
}

template <class Compute>
Compute read(const void* data, Type type, int64_t at) {
  switch (type) {
    case Type::Double:
      return static_cast<Compute>(static_cast<const double*>(data)[at]);
    case Type::BFloat16:
      return bfloat16_to_float(static_cast<const uint16_t*>(data)[at]);
    case Type::Half:
      return half_to_float(static_cast<const uint16_t*>(data)[at]);
    default:
      return static_cast<const float*>(data)[at];
  }
}

inline void write(void* data, Type type, int64_t at, double value) {
  switch (type) {
    case Type::Double:
      static_cast<double*>(data)[at] = value;
      break;
    case Type::BFloat16:
      static_cast<uint16_t*>(data)[at] = float_to_bfloat16(static_cast<float>(value));
      break;
    case Type::Half:
      static_cast<uint16_t*>(data)[at] = float_to_half(static_cast<float>(value));
      break;
    default:
      static_cast<float*>(data)[at] = static_cast<float>(value);
  }
}

}  // namespace ditkernels
