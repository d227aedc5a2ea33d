// Tasks over threads. The order in which tasks run is free; nothing may depend on it.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <numeric>
#include <vector>

#include "attention.h"

namespace ditkernels {

// Runs make_worker()(task) for every task. Each thread makes one worker, which may keep buffers, and takes tasks from
// `order` until none is left, so that threads stay busy with tasks of unequal cost.
template <class MakeWorker>
void run_tasks(const Threads& threads, const std::vector<int64_t>& order, const MakeWorker& make_worker) {
  struct Context {
    const std::vector<int64_t>& order;
    const MakeWorker& make_worker;
    std::atomic<size_t> next{0};
  } context{order, make_worker};
  if (order.empty()) return;
  const auto work = [](void* p) {
    Context& c = *static_cast<Context*>(p);
    auto worker = c.make_worker();
    for (size_t at; (at = c.next.fetch_add(1, std::memory_order_relaxed)) < c.order.size();) worker(c.order[at]);
  };
  threads.run(std::min<int64_t>(threads.count, static_cast<int64_t>(order.size())), work, &context);
}

inline std::vector<int64_t> in_order(int64_t tasks) {
  std::vector<int64_t> order(tasks);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

// Tasks from the dearest to the cheapest, so that a large molecule does not start last.
inline std::vector<int64_t> by_cost(const std::vector<int64_t>& cost) {
  std::vector<int64_t> order = in_order(static_cast<int64_t>(cost.size()));
  std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) { return cost[x] > cost[y]; });
  return order;
}

}  // namespace ditkernels
