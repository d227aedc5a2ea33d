// Plain data passed between the driver (compiled once, baseline instructions) and the kernels (compiled once per
// instruction-set level). No member functions here: inline code emitted for a newer level could win at link time.
#pragma once

#include <cstdint>

namespace ditkernels {

// Element types as stored. Kernels compute in double if the tokens are double, else in float.
enum class Type { Float, Double, BFloat16, Half, UInt8, Int16, Int32, Int64 };

// Slots of a receiver are padded to a multiple of this; every vector width in use divides it.
constexpr int64_t kSlotPadding = 16;

// What every operator and form shares. Token tensors are row-major, of the compute type, with C = heads * dim channels:
// (T, C), or (T, M, C) with components.
struct Problem {
  int64_t heads, dim, channels;
  double scale;
  const void *query, *key, *value;
  void* out;
  void* lse;  // (T, heads)
  // Backward only.
  const void* grad_out;
  void* grad_query;
};

// Work item: receivers [first, first + rows) of one molecule, with the senders each of them may see.
//
// Slot e of receiver r (0 <= e < count[r]) is one allowed sender. Receivers' slots are `stride` apart; the slots from
// count[r] to the next multiple of kSlotPadding repeat the last valid one, so that kernels need no tails. Senders
// ascend, but for operators with runs: there, with an index, senders with the same table row are neighbours, and such a
// group of slots is a run.
struct Item {
  int64_t token;          // first token of the molecule
  int64_t size;           // atoms of the molecule
  int64_t first;          // first receiver
  int64_t rows;           // receivers
  int64_t pair_row;       // pair row of (first, sender 0)
  int64_t pair_step;      // pair rows between consecutive receivers
  int64_t stride;         // slots per receiver, a multiple of kSlotPadding
  const int32_t* count;   // (rows)          allowed senders
  const int32_t* sender;  // (rows, stride)  sender of a slot
  // With an index, without runs.
  const int32_t* table;  // (rows, stride)  item-local table row of a slot
  // With an index and runs.
  const int32_t* run;        // (rows, stride)      run of a slot
  const int32_t* num_runs;   // (rows)
  const int32_t* run_start;  // (rows, stride + 1)  first slot of a run, closed by count
  const int32_t* run_table;  // (rows, stride)      item-local table row of a run
};

// Pair bias of one item in the compute type, (rows, heads, stride), null without bias; and the gradient of the logits
// in the same layout, null if not wanted.
struct ItemBias {
  const void* bias;
  void* grad;
};

// Backward: where the item's contributions to the gradients of the molecule's tokens go; overwritten.
struct ItemGrad {
  void *key, *value;  // (size, key_columns), (size, value_columns)
  void* positions;    // (size, 3); null if not wanted
};

}  // namespace ditkernels
