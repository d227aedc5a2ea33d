#include "atomwise.h"

#include <algorithm>

#include "../dispatch.h"
#include "../parallel.h"

namespace ditkernels {

DITKERNELS_CHOOSE(Atomwise, AtomwiseKernels)

namespace {

constexpr int64_t kElements = 1 << 14;  // of one task: smaller ones cost more to hand out than to do

template <class Problem>
void run_rows(const Problem& p, void (*kernel)(const Problem&, int64_t, int64_t), int64_t row_size,
              const Threads& threads) {
  const int64_t rows = std::max<int64_t>(1, kElements / std::max<int64_t>(1, row_size));
  const int64_t tasks = (p.tokens + rows - 1) / rows;
  run_tasks(threads, in_order(tasks), [&] {
    return [&](int64_t task) { kernel(p, task * rows, std::min(p.tokens, (task + 1) * rows)); };
  });
}

}  // namespace

void transition(const Transition& p, const Threads& threads) {
  int64_t components = 0;
  for (int64_t x = 0; x < p.irreps.count; ++x) components += p.irreps.components[x];
  run_rows(p, kernels(p.double_precision).transition, components * p.channels, threads);
}

void activation(const Activation& p, const Threads& threads) {
  run_rows(p, kernels(p.double_precision).activation, p.components * p.channels, threads);
}

}  // namespace ditkernels
