// Radial functions of a distance r and their derivatives, in double. Included by the kernel files only.
//
//   Bernstein  C(K-1, n) r^n / (1 + r)^(K-1)              derivative (K-n) f_{n-1} - (K-1)/(1+r) f_n
//   Gaussian   exp(-(r - mu_n)^2 / (2 w^2))               mu_n = n w, w = cutoff / (K - 1), or the cutoff if K = 1
//   Bessel     sqrt(2/cutoff) sin(n pi r / cutoff) / r    n = 1 ... K, with its limit at r = 0
#pragma once

#include <cmath>
#include <cstdint>

#include "plan.h"

namespace {

using ditkernels::Basis;

// From the largest function outwards by the ratio of neighbours, (K-1-n)/(n+1) r: no power over- or underflows early.
template <class T>
void bernstein(int64_t K, double r, T* f, T* slope) {
  const double last = static_cast<double>(K - 1);
  int64_t peak = static_cast<int64_t>(r / (1 + r) * static_cast<double>(K));
  if (peak > K - 1) peak = K - 1;
  const double n = static_cast<double>(peak);
  const double start = peak == 0 && r == 0
                           ? 1.0
                           : std::exp(std::lgamma(last + 1) - std::lgamma(n + 1) - std::lgamma(last - n + 1) +
                                      (peak ? n * std::log(r) : 0.0) - last * std::log1p(r));
  const double tail = last / (1 + r);
  double value = start;
  for (int64_t m = peak; m < K; ++m) {
    f[m] = static_cast<T>(value);
    value *= (last - static_cast<double>(m)) / static_cast<double>(m + 1) * r;
  }
  value = start;
  for (int64_t m = peak; m > 0; --m) {
    value *= static_cast<double>(m) / ((last - static_cast<double>(m) + 1) * r);
    f[m - 1] = static_cast<T>(value);
  }
  if (!slope) return;
  for (int64_t m = K - 1; m >= 0; --m) {
    const double below = m ? static_cast<double>(K - m) * static_cast<double>(f[m - 1]) : 0.0;
    slope[m] = static_cast<T>(below - tail * static_cast<double>(f[m]));
  }
}

template <class T>
void gaussian(int64_t K, double cutoff, double r, T* f, T* slope) {
  const double width = K > 1 ? cutoff / static_cast<double>(K - 1) : cutoff;
  for (int64_t n = 0; n < K; ++n) {
    const double x = (r - static_cast<double>(n) * width) / width, value = std::exp(-0.5 * x * x);
    f[n] = static_cast<T>(value);
    if (slope) slope[n] = static_cast<T>(-x / width * value);
  }
}

template <class T>
void bessel(int64_t K, double cutoff, double r, T* f, T* slope) {
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
    f[n - 1] = static_cast<T>(norm * w * value);
    if (slope) slope[n - 1] = static_cast<T>(norm * w * w * derivative);
  }
}

// f (K) and, unless null, slope (K) = df/dr.
template <class T>
void radial_functions(Basis kind, int64_t K, double cutoff, double r, T* f, T* slope) {
  if (kind == Basis::Bernstein) return bernstein(K, r, f, slope);
  if (kind == Basis::Gaussian) return gaussian(K, cutoff, r, f, slope);
  bessel(K, cutoff, r, f, slope);
}

}  // namespace
