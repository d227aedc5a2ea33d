// What the drivers of all operators share: where the molecules lie, and the arguments that every operator has.
#pragma once

#include <cstdint>

#include "plan.h"

namespace ditkernels {

// A tensor with rows of unit stride; data == nullptr when absent.
struct Rows {
  void* data = nullptr;
  Type type = Type::Float;
  int64_t rows = 0, columns = 0;
};

// Molecule b has tokens [offsets[b], offsets[b] + lengths[b]); its pair (i, j) has pair row
// pair_offsets[b] + i * (pair_stride, or lengths[b] if that is 0) + j.
struct Batch {
  int64_t molecules = 0, tokens = 0, pairs = 0, pair_stride = 0;
  const int64_t* offsets = nullptr;
  const int32_t* lengths = nullptr;
  const int64_t* pair_offsets = nullptr;
};

// Arguments of every attention operator. C = heads * dim.
struct Attention {
  Batch batch;
  bool double_precision = false;
  int64_t heads = 0, dim = 0;
  double scale = 1;
  bool exclude_self = false;
  // Of the compute type; rows of key_columns, value_columns (pair_attention: C).
  int64_t key_columns = 0, value_columns = 0;
  const void *query = nullptr, *key = nullptr, *value = nullptr;
  void *out = nullptr, *lse = nullptr;
  // Of any type.
  const uint8_t* mask = nullptr;  // (pairs)
  Rows bias, index;               // (pairs, heads), (pairs)
  int64_t table_rows = 0;         // rows of the tables that the index picks from

  // Backward: gradients in the type of what they belong to; absent if not wanted.
  const void* grad_out = nullptr;
  void *grad_query = nullptr, *grad_key = nullptr, *grad_value = nullptr;
  Rows grad_bias, grad_positions;  // (pairs, heads), (tokens, 3)
};

// Number of threads and the parallel loop are torch's; passed in so that this part does not depend on torch.
struct Threads {
  int64_t count = 1;
  void (*run)(int64_t tasks, void (*task)(void*), void* context) = nullptr;
};

}  // namespace ditkernels
