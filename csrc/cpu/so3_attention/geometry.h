// Directions, distances and harmonics of pairs of atoms. Included by the kernel files only.
#pragma once

#include <cmath>

#include "../../so3_tables.h"
#include "plan.h"

namespace {

using namespace ditkernels;

constexpr int kMaxFilters = 9;

// v = direction from one position to another, and their distance; direction 0 at distance 0.
template <class T>
void direction(const T* from, const T* to, double* v) {
  const double x = static_cast<double>(to[0]) - static_cast<double>(from[0]);
  const double y = static_cast<double>(to[1]) - static_cast<double>(from[1]);
  const double z = static_cast<double>(to[2]) - static_cast<double>(from[2]);
  const double distance = std::sqrt(x * x + y * y + z * z), inverse = distance > 0 ? 1 / distance : 0.0;
  v[0] = x * inverse, v[1] = y * inverse, v[2] = z * inverse, v[3] = distance;
}

struct Powers {
  double of[3][3];
  explicit Powers(const double* u) {
    for (int x = 0; x < 3; ++x) of[x][0] = 1, of[x][1] = u[x], of[x][2] = u[x] * u[x];
  }
};

// Harmonics of a direction, `step` elements apart.
template <class T>
void harmonics_of(const double* u, int64_t filters, T* to, int64_t step) {
  const Powers power(u);
  for (int64_t f = 0; f < filters; ++f) {
    double sum = 0;
    for (int t = kHarmonicOffset[f]; t < kHarmonicOffset[f + 1]; ++t)
      sum += kHarmonicCoefficient[t] * power.of[0][kHarmonicX[t]] * power.of[1][kHarmonicY[t]] *
             power.of[2][kHarmonicZ[t]];
    to[f * step] = static_cast<T>(sum);
  }
}

// gradient (3) of the vector v between two atoms, from those of the harmonics (df, filters) and of the distance. Y_J is
// homogeneous of degree J: dY/dv = (grad Y(u) - J Y u) / distance, and u . grad Y = J Y. False at distance 0.
inline bool vector_gradient(const double* v, int64_t filters, const double* df, double radial, double* gradient) {
  if (!(v[3] > 0)) return false;
  const Powers power(v);
  double d[3] = {0, 0, 0};
  for (int64_t f = 1; f < filters; ++f) {
    for (int t = kHarmonicOffset[f]; t < kHarmonicOffset[f + 1]; ++t) {
      const int px = kHarmonicX[t], py = kHarmonicY[t], pz = kHarmonicZ[t];
      const double c = df[f] * kHarmonicCoefficient[t];
      if (px) d[0] += c * px * power.of[0][px - 1] * power.of[1][py] * power.of[2][pz];
      if (py) d[1] += c * py * power.of[0][px] * power.of[1][py - 1] * power.of[2][pz];
      if (pz) d[2] += c * pz * power.of[0][px] * power.of[1][py] * power.of[2][pz - 1];
    }
  }
  const double along = d[0] * v[0] + d[1] * v[1] + d[2] * v[2];
  for (int x = 0; x < 3; ++x) gradient[x] = (d[x] - along * v[x]) / v[3] + radial * v[x];
  return true;
}

}  // namespace
