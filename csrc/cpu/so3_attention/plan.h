// Plain data passed between the driver and the kernels of so3_attention; see ../plan.h.
#pragma once

#include "../plan.h"

namespace ditkernels {

// One term of the tensor product: out[output] += weight[path] * coefficient * S[filter, value], components numbered
// over whole lists (filter 0 .. filter_degrees^2 - 1).
struct Coupling {
  int32_t path, filter, value, output;
  double coefficient;
};

// Irreps of the call. Token tensors are (T, M, C) with M components.
struct So3Shape {
  int64_t qk, values, outputs;  // components
  int64_t irreps;               // of queries and keys
  const int32_t* irrep_start;   // (irreps + 1) first component of each
  int64_t degrees, filters;     // filter degrees, and their components degrees^2
  int64_t paths, couplings;
  const Coupling* coupling;  // sorted by path
  // Forward: the couplings sorted by output, the first of each output (outputs + 1), and of each its place in S.
  const Coupling* by_output;
  const int32_t *output_start, *place;
  const void* positions;    // (T, 3)
  const void* path_weight;  // (paths, C)
};

// Radial weights as tensors, (pairs, irreps, C) and (pairs, degrees, C) in their storage type; gradients null if not
// wanted.
struct So3Rows {
  Type type;
  const void *a, *g;
  void *grad_a, *grad_g;
};

enum class Basis { Bernstein, Gaussian, Bessel };

// Most radial functions for which the binomials C(K-1, n) are far from the largest double.
constexpr int64_t kMaxBinomials = 512;

// Radial weights as projections of `count` functions of the distance. Weights are packed head by head: the matrix of
// head h starts at h * (its packed size).
struct So3Basis {
  Basis kind;
  int64_t count;
  double cutoff;
  const double* binomial;             // (count) C(count - 1, n); null for other bases, or more than kMaxBinomials
  const void *packed_a, *packed_g;    // per head (count, irreps * D), and per head and degree (count, D)
  const void *packed_at, *packed_gt;  // their transposes; backward only
  const void* scaling;                // (S, degrees, count), null if all are 1
  const int64_t* row;                 // table row of the item's local row
  // Backward: added to; null if not wanted.
  void *grad_a, *grad_g;    // per head (count, irreps * D); per head and degree (count, D)
  void* grad_scaling;       // rows grad_row[local row] of (., degrees, count)
  const int64_t* grad_row;  // of the item's local rows
};

// Backward: where an item's contributions go. Tokens are overwritten, path weights added to; null if not wanted.
struct So3Grad {
  void *key, *value;    // (size, Mqk, C), (size, Mv, C)
  void* positions;      // (size, 3)
  double* path_weight;  // (paths, C)
};

// Kernels of one instruction-set level. `rows` or `basis` is null.
struct So3Kernels {
  int64_t (*scratch)(const Problem&, const Item&, const So3Shape&, const So3Rows*, const So3Basis*, bool backward);
  void (*forward)(const Problem&, const Item&, const ItemBias&, const So3Shape&, const So3Rows*, const So3Basis*,
                  char* scratch);
  void (*backward)(const Problem&, const Item&, const ItemBias&, const So3Shape&, const So3Rows*, const So3Basis*,
                   const So3Grad&, char* scratch);
  int64_t (*packed_size)(int64_t rows, int64_t columns);
  void (*pack_weight)(int64_t rows, int64_t columns, const void* from, bool transposed, void* to);
};

}  // namespace ditkernels
