// What lies between the matrix products of a transformer block: residual, layer norm, modulation; and activation.
// Rows are atoms; every row is computed by itself, so that nothing depends on the number of threads.
#pragma once

#include <cstdint>

#include "../attention.h"

namespace ditkernels {

constexpr int64_t kMaxIrreps = 16;

// How an irrep is brought to unit size: the layer norm of a scalar, or division by a size without a mean.
enum class NormKind : int64_t { LayerNorm, Rms, Variance };

// One atom is (M, C): the components of some irreps, then channels.
struct NormIrreps {
  int64_t count = 0;
  int64_t components[kMaxIrreps];  // of each
  NormKind kind[kMaxIrreps];
  double eps[kMaxIrreps];
};

// state += gate * (update + bias); out = norm(state) * (1 + scale) + shift. The bias and the shift are of the scalar,
// the irrep with a layer norm. The modulations of an atom are one row of a table.
struct Transition {
  bool double_precision = false;
  int64_t tokens = 0, channels = 0;
  NormIrreps irreps;
  void* state = nullptr;         // (T, M, C)
  const void* update = nullptr;  // (T, M, C), null: the state stays
  const void* bias = nullptr;    // (C) or null
  const void* table = nullptr;   // (U, row_size)
  int64_t row_size = 0;
  const int32_t* rows = nullptr;  // (T), row of an atom
  // First column of the gates (irreps, C), the scales (irreps, C) and the shift (C).
  int64_t gate = 0, scale = 0, shift = 0;
  void* out = nullptr;  // (T, M, C), null: the norm is not wanted
};

// x *= g(s), s = x + bias on the scalar, where s g(s) is the tanh form of GELU; the scalar becomes s g(s).
struct Activation {
  bool double_precision = false;
  int64_t tokens = 0, components = 0, scalar = 0, channels = 0;
  void* x = nullptr;  // (T, M, C)
  const void* bias = nullptr;  // (C) or null
};

struct AtomwiseKernels {
  void (*transition)(const Transition&, int64_t begin, int64_t end);
  void (*activation)(const Activation&, int64_t begin, int64_t end);
};

void transition(const Transition&, const Threads&);
void activation(const Activation&, const Threads&);

}  // namespace ditkernels
