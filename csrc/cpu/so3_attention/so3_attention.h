// The CPU driver of so3_attention; see ../pair_attention/pair_attention.h for how work is split and summed.
#pragma once

#include <vector>

#include "../attention.h"
#include "plan.h"

namespace ditkernels {

// The arguments of the operator. The form follows from the radial tensors that are present: a and g (dense), or
// weight_a and weight_g (basis). Token rows have M * C elements, M components.
struct So3Attention : Attention {
  int64_t qk = 0, values = 0, outputs = 0;  // components
  std::vector<int32_t> irrep_start;         // (irreps of queries and keys + 1) first component of each
  int64_t degrees = 0, paths = 0;           // filter degrees
  std::vector<Coupling> couplings;
  Rows positions, path_weight;  // (tokens, 3), (paths, C), of the compute type
  Rows a, g;                    // (pairs, irreps * C), (pairs, degrees * C), of any type
  Basis kind = Basis::Bernstein;
  double cutoff = 0;
  Rows weight_a, weight_g, scaling;  // (K, irreps * C), (K, degrees * C), (S, degrees * K), of the compute type

  // Backward: gradients in the type of what they belong to; absent if not wanted.
  Rows grad_a, grad_g;
  // Added to: zero-filled by the caller.
  Rows grad_path_weight, grad_weight_a, grad_weight_g, grad_scaling;
};

// Both throw std::out_of_range for an index outside its table.
void forward(const So3Attention&, const Threads&);
void backward(const So3Attention&, const Threads&);

}  // namespace ditkernels
