// The table of kernels of one instruction-set level.
#pragma once

#include <cstdint>

#include "plan.h"

namespace ditkernels {

// Each kernel works on one item. `scratch` is 64-byte aligned and as large as the matching *_scratch function says.
struct PairKernels {
  int64_t (*table_scratch)(const Problem&, const Item&, const ItemTable&, bool backward);
  void (*table_forward)(const Problem&, const Item&, const ItemBias&, const ItemTable&, char* scratch);
  void (*table_backward)(const Problem&, const Item&, const ItemBias&, const ItemTable&, const ItemGrad&,
                         char* scratch);

  int64_t (*dense_scratch)(const Problem&, const Item&, const DenseRows&, bool backward);
  void (*dense_forward)(const Problem&, const Item&, const ItemBias&, const DenseRows&, char* scratch);
  void (*dense_backward)(const Problem&, const Item&, const ItemBias&, const DenseRows&, const ItemGrad&,
                         char* scratch);

  int64_t (*projected_scratch)(const Problem&, const Item&, const Projection&, const ItemTable&, bool backward);
  void (*projected_forward)(const Problem&, const Item&, const ItemBias&, const Projection&, const ItemTable&,
                            char* scratch);
  void (*projected_backward)(const Problem&, const Item&, const ItemBias&, const Projection&, const ItemTable&,
                             const ItemGrad&, char* scratch);

  // Elements of a packed (rows, columns) matrix, and the packing; `transposed` reads the source as (columns, rows).
  int64_t (*packed_size)(int64_t rows, int64_t columns);
  void (*pack_weight)(int64_t rows, int64_t columns, const void* from, bool transposed, void* to);
};

}  // namespace ditkernels
