// Plain data passed between the driver and the kernels of pair_attention; see ../plan.h.
#pragma once

#include "../plan.h"

namespace ditkernels {

// Distinct table rows an item uses: local row r is row `row[r]` of the (S, C) tables.
struct ItemTable {
  int64_t rows;
  const int64_t* row;
  const void *table_a, *table_b;  // equal when one table plays both roles
  // Backward: the gradient of local row r is added to row grad_row[r] of these (., C) buffers; null if not wanted.
  const int64_t* grad_row;
  void *grad_a, *grad_b;
};

// Pair tensors (pairs, C) in their storage type. grad_b == grad_a when a plays both roles, null if not wanted.
struct DenseRows {
  Type type;
  const void *a, *b;  // equal when a plays both roles
  void *grad_a, *grad_b;
};

// a = x W_a (+ table rows), b = x W_b (+ table rows), with pair features x of width `features`: rows of a tensor e, or
// silu((r_j - r_i) V1). Weights are packed by pack_weight; matrices are of the compute type.
struct Projection {
  int64_t features;
  const void *packed_a, *packed_b;    // (features, C); equal when one weight plays both roles
  const void *packed_at, *packed_bt;  // (C, features), the transposes; backward only
  // Pair features as a tensor.
  Type type;
  const void* e;  // (pairs, features)
  void* grad_e;   // same; null if not wanted
  // Pair features from positions.
  const void* positions;  // (T, 3); null if features are a tensor
  const void* v1;         // (3, features)
  // Backward: added to; null if not wanted. grad_weight_b == grad_weight_a when one weight plays both roles.
  void *grad_weight_a, *grad_weight_b;  // (features, C)
  void* grad_v1;                        // (3, features)
};

}  // namespace ditkernels
