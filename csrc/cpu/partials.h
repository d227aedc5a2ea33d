// Buffers for gradients to which several work items contribute, and their sums in a fixed order.
#pragma once

#include <memory>
#include <vector>

#include "parallel.h"
#include "work.h"

namespace ditkernels {

// Gradients of the tokens a chunk's receivers look at (keys, values, positions). A molecule with one chunk writes the
// result itself; the chunks of a larger one write buffers that are added in chunk order afterwards.
template <class T>
class TokenPartials {
 public:
  TokenPartials(const Attention& p, const std::vector<Chunk>& chunks)
      : p_(p), chunks_(chunks), at_(chunks.size(), -1) {
    int64_t size = 0;
    for (size_t c = 0; c < chunks.size(); ++c) {
      const int64_t n = p.batch.lengths[chunks[c].molecule];
      if (chunks[c].rows == n) continue;
      if (chunks[c].first == 0) split_.push_back(static_cast<int64_t>(c));
      at_[c] = size;
      size += n * (p.key_columns + p.value_columns + 3);
    }
    buffer_.reset(new T[size]);
  }

  ItemGrad target(int64_t chunk) const {
    const int64_t molecule = chunks_[chunk].molecule;
    if (at_[chunk] < 0) return result(molecule);
    const int64_t n = p_.batch.lengths[molecule];
    T* to = buffer_.get() + at_[chunk];
    T* value = to + n * p_.key_columns;
    return {to, value, p_.grad_positions.data ? value + n * p_.value_columns : nullptr};
  }

  void reduce(const Threads& threads) const {
    run_tasks(threads, split_, [&] {
      return [&](int64_t first) {
        const int64_t molecule = chunks_[first].molecule, n = p_.batch.lengths[molecule];
        const ItemGrad to = result(molecule);
        for (int64_t c = first; c < static_cast<int64_t>(chunks_.size()) && chunks_[c].molecule == molecule; ++c) {
          const ItemGrad from = target(c);
          add(from.key, to.key, n * p_.key_columns, c == first);
          add(from.value, to.value, n * p_.value_columns, c == first);
          if (to.positions) add(from.positions, to.positions, n * 3, c == first);
        }
      };
    });
  }

 private:
  ItemGrad result(int64_t molecule) const {
    const int64_t token = p_.batch.offsets[molecule];
    T* positions = static_cast<T*>(p_.grad_positions.data);
    return {static_cast<T*>(p_.grad_key) + token * p_.key_columns,
            static_cast<T*>(p_.grad_value) + token * p_.value_columns,
            positions ? positions + token * 3 : nullptr};
  }

  static void add(const void* from, void* to, int64_t count, bool first) {
    const T* x = static_cast<const T*>(from);
    T* y = static_cast<T*>(to);
    for (int64_t i = 0; i < count; ++i) y[i] = first ? x[i] : y[i] + x[i];
  }

  const Attention& p_;
  const std::vector<Chunk>& chunks_;
  std::vector<int64_t> at_, split_;
  std::unique_ptr<T[]> buffer_;
};

// Adds a table's partial gradients to the result, group after group. A partial holds the rows that its group uses
// (`rows`) and their gradients, one after the other.
template <class T, class Partial>
void add_tables(const std::vector<Partial>& partials, std::vector<T> Partial::* part,
                const Rows& result, const Threads& threads) {
  if (!result.data) return;
  constexpr int64_t kColumns = 64;
  const int64_t columns = result.columns;
  run_tasks(threads, in_order((columns + kColumns - 1) / kColumns), [&] {
    return [&](int64_t task) {
      const int64_t begin = task * kColumns, end = std::min(begin + kColumns, columns);
      for (const Partial& partial : partials) {
        const T* from = (partial.*part).data();
        for (size_t r = 0; r < partial.rows.size(); ++r) {
          T* to = static_cast<T*>(result.data) + partial.rows[r] * columns;
          for (int64_t c = begin; c < end; ++c) to[c] += from[r * columns + c];
        }
      }
    };
  });
}

// The same for a whole matrix of type T, summed in the type of the partials.
template <class T, class U, class Partial>
void add_matrices(const std::vector<Partial>& partials, std::vector<U> Partial::* part,
                  const Rows& result, const Threads& threads) {
  if (!result.data) return;
  constexpr int64_t kElements = 8192;
  const int64_t count = result.rows * result.columns;
  run_tasks(threads, in_order((count + kElements - 1) / kElements), [&] {
    return [&](int64_t task) {
      const int64_t begin = task * kElements, end = std::min(begin + kElements, count);
      T* to = static_cast<T*>(result.data) + begin;
      std::vector<U> sum(to, to + (end - begin));
      for (const Partial& partial : partials) {
        const U* from = (partial.*part).data() + begin;
        for (size_t x = 0; x < sum.size(); ++x) sum[x] += from[x];
      }
      for (size_t x = 0; x < sum.size(); ++x) to[x] = static_cast<T>(sum[x]);
    };
  });
}

}  // namespace ditkernels
