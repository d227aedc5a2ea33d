// The CPU driver of pair_attention: splits a batch into work items, runs the kernels over them, adds up shared
// gradients.
//
// Results do not depend on the number of threads: items, groups of items and the order of every sum follow from the
// shapes alone. Items are handed to threads in any order.
#pragma once

#include "../attention.h"

namespace ditkernels {

// The arguments of the operator. The form follows from the pair tensors that are present: a (dense), e (projected),
// positions (displacement), else index and table_a. Token rows have C elements.
struct PairAttention : Attention {
  Rows table_a, table_b, weight_a, weight_b, positions, v1;  // (S, C), (F, C), (tokens, 3), (3, F), of the compute type
  Rows a, b, e;                                              // (pairs, C), (pairs, C), (pairs, F), of any type

  // Backward: gradients in the type of what they belong to; absent if not wanted.
  Rows grad_a, grad_b, grad_e;
  // Added to: zero-filled by the caller.
  Rows grad_table_a, grad_table_b, grad_weight_a, grad_weight_b, grad_v1;
};

// Both throw std::out_of_range for an index outside its table.
void forward(const PairAttention&, const Threads&);
void backward(const PairAttention&, const Threads&);

}  // namespace ditkernels
