#include "atomwise.h"

#include <algorithm>

#include "../dispatch.h"
#include "../parallel.h"
#include "../work.h"

namespace ditkernels {

DITKERNELS_CHOOSE(Atomwise, AtomwiseKernels)

namespace {

constexpr int64_t kElements = 1 << 14;  // of one task: smaller ones cost more to hand out than to do

// Atoms of a task of matrix products: a weight is read once for all of them, and their hidden layer (1024 channels wide
// in single precision) stays in an L2 cache of 512 KB.
constexpr int64_t kTile = 48;
constexpr int64_t kColumns = 1024;  // of a task, whole panels at every level

constexpr int64_t kRowGroup = 6;  // rows that a matrix product makes at once, or half as many

// First atoms of tiles of almost equal size in whole groups, as many tiles for each thread; closed by tokens.
std::vector<int64_t> tiles_of(int64_t tokens, int64_t threads) {
  const int64_t least = (tokens + kTile - 1) / kTile, tiles = (least + threads - 1) / threads * threads;
  const int64_t groups = (tokens + kRowGroup - 1) / kRowGroup;
  std::vector<int64_t> first;
  for (int64_t i = 0; i <= tiles; ++i) first.push_back(std::min(tokens, groups * i / tiles * kRowGroup));
  return first;
}

}  // namespace

void transition(const Transition& p, const Threads& threads) {
  int64_t components = 0;
  for (int64_t x = 0; x < p.irreps.count; ++x) components += p.irreps.components[x];
  const int64_t rows = std::max<int64_t>(1, kElements / std::max<int64_t>(1, components * p.channels));
  run_tasks(threads, in_order((p.tokens + rows - 1) / rows), [&] {
    return [&](int64_t task) {
      kernels(p.double_precision).transition(p, task * rows, std::min(p.tokens, (task + 1) * rows));
    };
  });
}

int64_t packed_size(bool double_precision, int64_t inputs, int64_t outputs) {
  return kernels(double_precision).packed_size(inputs, outputs);
}

void pack(bool double_precision, int64_t inputs, int64_t outputs, const void* weight, void* packed) {
  kernels(double_precision).pack(inputs, outputs, weight, packed);
}

void dense(const Dense& p, const Threads& threads) {
  const AtomwiseKernels& k = kernels(p.double_precision);
  std::vector<int64_t> irrep;  // of a component
  for (int64_t x = 0; x < p.irreps.count; ++x) irrep.insert(irrep.end(), p.irreps.components[x], x);
  const int64_t tiles = (p.tokens + kTile - 1) / kTile, parts = (p.outputs + kColumns - 1) / kColumns;
  run_tasks(threads, in_order(tiles * parts * p.irreps.total), [&] {
    return [&, scratch = std::make_shared<Scratch>()](int64_t task) {
      const int64_t tile = task % tiles, part = task / tiles % parts, component = task / tiles / parts;
      k.dense(p, component, irrep[component], tile * kTile, std::min(p.tokens, (tile + 1) * kTile), part * kColumns,
              std::min(p.outputs, (part + 1) * kColumns), scratch->reserve(k.dense_scratch(p, kTile)));
    };
  });
}

void gated_mlp(const GatedMlp& p, const Threads& threads) {
  const AtomwiseKernels& k = kernels(p.double_precision);
  const std::vector<int64_t> first = tiles_of(p.tokens, threads.count);
  run_tasks(threads, in_order(static_cast<int64_t>(first.size()) - 1), [&] {
    return [&, scratch = std::make_shared<Scratch>()](int64_t task) {
      k.mlp(p, first[task], first[task + 1], scratch->reserve(k.mlp_scratch(p, kTile)));
    };
  });
}

}  // namespace ditkernels
