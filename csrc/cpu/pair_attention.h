// The CPU driver of pair_attention: splits a batch into work items, runs the kernels over them, adds up shared
// gradients.
//
// Results do not depend on the number of threads: items, groups of items and the order of every sum follow from the
// shapes alone. Items are handed to threads in any order.
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

// The arguments of the operator. The form follows from the pair tensors that are present: a (dense), e (projected),
// positions (displacement), else index and table_a. C = heads * dim.
struct PairAttention {
  Batch batch;
  bool double_precision = false;
  int64_t heads = 0, dim = 0;
  double scale = 1;
  bool exclude_self = false;
  // Of the compute type.
  const void *query = nullptr, *key = nullptr, *value = nullptr;  // (tokens, C)
  void *out = nullptr, *lse = nullptr;                            // (tokens, C), (tokens, heads)
  Rows table_a, table_b, weight_a, weight_b, positions, v1;       // (S, C), (F, C), (tokens, 3), (3, F)
  // Of any type.
  const uint8_t* mask = nullptr;  // (pairs)
  Rows bias, index, a, b, e;      // (pairs, heads), (pairs), (pairs, C), (pairs, C), (pairs, F)

  // Backward: gradients in the type of what they belong to; absent if not wanted.
  const void* grad_out = nullptr;
  void *grad_query = nullptr, *grad_key = nullptr, *grad_value = nullptr;
  Rows grad_bias, grad_a, grad_b, grad_e, grad_positions;
  // Added to: zero-filled by the caller.
  Rows grad_table_a, grad_table_b, grad_weight_a, grad_weight_b, grad_v1;
};

// Number of threads and the parallel loop are torch's; passed in so that this part does not depend on torch.
struct Threads {
  int64_t count = 1;
  void (*run)(int64_t tasks, void (*task)(void*), void* context) = nullptr;
};

// Both throw std::out_of_range for an index outside its table.
void forward(const PairAttention&, const Threads&);
void backward(const PairAttention&, const Threads&);

}  // namespace ditkernels
