// Radial functions of a distance r and their derivatives, in double. Included by the kernel files only.
//
//   Bernstein  C(K-1, n) r^n / (1 + r)^(K-1)              derivative (K-n) f_{n-1} - (K-1)/(1+r) f_n
//   Gaussian   exp(-(r - mu_n)^2 / (2 w^2))               mu_n = n w, w = cutoff / (K - 1), or the cutoff if K = 1
//   Bessel     sqrt(2/cutoff) sin(n pi r / cutoff) / r    n = 1 ... K, with its limit at r = 0
#pragma once

#include <cmath>
#include <cstdint>

#include "../simd.h"
#include "plan.h"

namespace {

using ditkernels::Basis;

// x^0, x^1, ..., eight at a time: the powers of a long chain of products would wait for one another.
inline void powers(int64_t count, double x, double* to) {
  to[0] = 1;
  for (int64_t n = 1; n < 8; ++n) to[n] = to[n - 1] * x;
  const double step = to[7] * x;
  for (int64_t n = 8; n < count; n += 8) {
    for (int i = 0; i < 8; ++i) to[n + i] = to[n - 8 + i] * step;
  }
}

// tau = r / (1 + r): f_n = C(K-1, n) tau^n (1 - tau)^(K-1-n), for the binomials that a double holds.
inline void bernstein_by_powers(int64_t K, const double* binomial, double r, double* f) {
  double up[ditkernels::kMaxBinomials], down[ditkernels::kMaxBinomials];
  powers(K, r / (1 + r), up);
  powers(K, 1 / (1 + r), down);
  for (int64_t n = 0; n < K; ++n) f[n] = binomial[n] * up[n] * down[K - 1 - n];
}

// From the largest function outwards by the ratio of neighbours, (K-1-n)/(n+1) r: no power over- or underflows early.
inline void bernstein_by_ratios(int64_t K, double r, double* f) {
  const double last = static_cast<double>(K - 1);
  int64_t peak = static_cast<int64_t>(r / (1 + r) * static_cast<double>(K));
  if (peak > K - 1) peak = K - 1;
  const double n = static_cast<double>(peak);
  f[peak] = peak == 0 && r == 0 ? 1.0
                                : std::exp(std::lgamma(last + 1) - std::lgamma(n + 1) - std::lgamma(last - n + 1) +
                                           (peak ? n * std::log(r) : 0.0) - last * std::log1p(r));
  for (int64_t m = peak; m + 1 < K; ++m)
    f[m + 1] = f[m] * (last - static_cast<double>(m)) / static_cast<double>(m + 1) * r;
  for (int64_t m = peak; m > 0; --m)
    f[m - 1] = f[m] * static_cast<double>(m) / ((last - static_cast<double>(m) + 1) * r);
}

inline void bernstein(int64_t K, const double* binomial, double r, double* f, double* slope) {
  binomial ? bernstein_by_powers(K, binomial, r, f) : bernstein_by_ratios(K, r, f);
  if (!slope) return;
  const double tail = static_cast<double>(K - 1) / (1 + r);
  slope[0] = -tail * f[0];
  for (int64_t n = 1; n < K; ++n) slope[n] = static_cast<double>(K - n) * f[n - 1] - tail * f[n];
}

inline void gaussian(int64_t K, double cutoff, double r, double* f, double* slope) {
  const double width = K > 1 ? cutoff / static_cast<double>(K - 1) : cutoff;
  for (int64_t n = 0; n < K; ++n) {
    const double x = (r - static_cast<double>(n) * width) / width;
    f[n] = std::exp(-0.5 * x * x);
    if (slope) slope[n] = -x / width * f[n];
  }
}

inline void bessel(int64_t K, double cutoff, double r, double* f, double* slope) {
  const double norm = std::sqrt(2 / cutoff);
  for (int64_t n = 1; n <= K; ++n) {
    const double w = static_cast<double>(n) * 3.14159265358979323846 / cutoff, x = w * r;
    double value, derivative;  // of sin(x) / x
    if (x < 0.05) {            // by the power series: the quotients lose digits
      const double s = x * x;
      value = 1 - s / 6 * (1 - s / 20 * (1 - s / 42 * (1 - s / 72)));
      derivative = -x / 3 * (1 - s / 10 * (1 - s / 28 * (1 - s / 54)));
    } else {
      const double sine = std::sin(x), cosine = std::cos(x);
      value = sine / x;
      derivative = (cosine - value) / x;
    }
    f[n - 1] = norm * w * value;
    if (slope) slope[n - 1] = norm * w * w * derivative;
  }
}

// f (K) and, unless null, slope (K) = df/dr.
inline void radial_functions(const ditkernels::So3Basis& basis, double r, double* f, double* slope) {
  if (basis.kind == Basis::Bernstein) return bernstein(basis.count, basis.binomial, r, f, slope);
  if (basis.kind == Basis::Gaussian) return gaussian(basis.count, basis.cutoff, r, f, slope);
  bessel(basis.count, basis.cutoff, r, f, slope);
}

}  // namespace
