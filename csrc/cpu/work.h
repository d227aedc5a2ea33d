// Work items, and what a thread prepares for the kernels before it runs one.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "attention.h"

namespace ditkernels {

// Receivers [first, first + rows) of a molecule.
struct Chunk {
  int64_t molecule, first, rows;
};

// Splits every molecule into chunks of nearly equal size, in molecule order: of at most `most` receivers (a power of
// 2), or of half as many, down to 32, while the batch would have fewer than `enough` chunks to share between cores.
std::vector<Chunk> split(const Batch&, int64_t enough, int64_t most = 128);

// Cuts the chunks into at most 64 consecutive groups of similar cost, of about `pairs_each` pairs or more. Returns the
// first chunk of every group, closed by chunks.size().
std::vector<int64_t> group(const Batch&, const std::vector<Chunk>&, int64_t pairs_each);

// Numbers the distinct values it is given from 0, in order of first appearance; start() forgets them.
class Numbering {
 public:
  explicit Numbering(int64_t values) : stamp_(values, 0), number_(values) {}
  void start() {
    ++epoch_;
    values_.clear();
  }
  int32_t operator()(int64_t value) {
    if (stamp_[value] != epoch_) {
      stamp_[value] = epoch_;
      number_[value] = static_cast<int32_t>(values_.size());
      values_.push_back(value);
    }
    return number_[value];
  }
  const std::vector<int64_t>& values() const { return values_; }

 private:
  std::vector<int64_t> stamp_;
  std::vector<int32_t> number_;
  std::vector<int64_t> values_;
  int64_t epoch_ = 0;
};

// Uninitialised bytes at a 64-byte boundary that grow on demand and are reused.
class Scratch {
 public:
  char* reserve(int64_t bytes);

 private:
  std::unique_ptr<char[]> bytes_;
  int64_t size_ = 0;
};

// The lists of senders of one chunk (see plan.h), rebuilt for every chunk a thread takes.
class Plan {
 public:
  // runs: whether senders with the same table row become neighbours.
  Plan(const Attention& problem, bool runs)
      : problem_(problem), runs_(runs), rows_(problem.index.data ? problem.table_rows : 0) {}

  // Lists the senders of every receiver of the chunk. Throws std::out_of_range for an index outside the table.
  const Item& build(const Chunk& chunk);
  // Distinct table rows in use, after build().
  const std::vector<int64_t>& table_rows() const { return rows_.values(); }
  // The chunk's bias in the compute type, (rows, heads, stride); slots are padded like the senders.
  const void* gather_bias();
  // Writes the gradients of the logits in the same layout to grad_bias.
  void scatter_bias(const void* grad) const;

 private:
  // Next allowed sender of receiver r from j on; size if there is none.
  int64_t next_allowed(int64_t r, int64_t j) const;
  void build_list();
  // Item-local table row of the pair in a row of the index.
  template <class Index>
  int32_t table_row(const Index* index, int64_t pair);
  template <class Index>
  void build_table(const Index* index);
  template <class Index>
  void build_runs(const Index* index);
  void pad(int64_t r);

  const Attention& problem_;
  const bool runs_;
  Item item_{};
  Numbering rows_;
  std::vector<int32_t> count_, sender_, table_, run_, num_runs_, run_start_, run_table_;
  std::vector<int32_t> allowed_, allowed_run_, next_, run_of_row_;
  std::vector<double> bias_;
};

}  // namespace ditkernels
