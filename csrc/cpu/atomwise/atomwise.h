// What a transformer block does to single atoms: residual, layer norm, modulation; dense layers and their activation.
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

// The components of an atom by irrep.
struct Components {
  int64_t count = 0, total = 0;
  int64_t components[kMaxIrreps];  // of each
};

// out = x W^T + bias, a weight W (outputs, inputs) for each irrep. The bias is for M = 1 alone.
struct Dense {
  bool double_precision = false;
  int64_t tokens = 0, inputs = 0, outputs = 0;
  Components irreps;
  const void* x = nullptr;  // (T, M, inputs)
  const void* weight = nullptr;  // packed, one irrep after the other
  const void* bias = nullptr;    // (outputs) or null
  void* out = nullptr;           // (T, M, outputs)
  int64_t x_step = 0, out_step = 0;  // elements between atoms
};

// out = down(h g(s)), h = up(x), s the h of the scalar, to which the bias is added, and s g(s) the tanh form of GELU.
struct GatedMlp {
  bool double_precision = false;
  int64_t tokens = 0, width = 0, hidden = 0, scalar = 0;  // the scalar's place among the irreps
  Components irreps;
  const void* x = nullptr;        // (T, M, width)
  const void *up = nullptr, *down = nullptr;  // packed, one irrep after the other
  const void* up_bias = nullptr;  // (hidden) or null
  void* out = nullptr;            // (T, M, width)
};

struct AtomwiseKernels {
  void (*transition)(const Transition&, int64_t begin, int64_t end);
  int64_t (*packed_size)(int64_t inputs, int64_t outputs);  // elements of a packed weight
  void (*pack)(int64_t inputs, int64_t outputs, const void* weight, void* packed);
  // Scratch: bytes for so many atoms.
  int64_t (*dense_scratch)(const Dense&, int64_t rows);
  void (*dense)(const Dense&, int64_t component, int64_t irrep, int64_t begin, int64_t end, int64_t first_column,
                int64_t last_column, char* scratch);
  int64_t (*mlp_scratch)(const GatedMlp&, int64_t rows);
  void (*mlp)(const GatedMlp&, int64_t begin, int64_t end, char* scratch);
};

void transition(const Transition&, const Threads&);
int64_t packed_size(bool double_precision, int64_t inputs, int64_t outputs);
void pack(bool double_precision, int64_t inputs, int64_t outputs, const void* weight, void* packed);
void dense(const Dense&, const Threads&);
void gated_mlp(const GatedMlp&, const Threads&);

}  // namespace ditkernels
