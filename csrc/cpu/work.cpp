#include "work.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "convert.h"

namespace ditkernels {

namespace {

constexpr int64_t kGroups = 64;

}  // namespace

std::vector<Chunk> split(const Batch& batch, int64_t enough, int64_t most) {
  int64_t receivers = most;
  for (; receivers > 32; receivers /= 2) {
    int64_t count = 0;
    for (int64_t b = 0; b < batch.molecules; ++b) count += (batch.lengths[b] + receivers - 1) / receivers;
    if (count >= enough) break;
  }
  std::vector<Chunk> chunks;
  for (int64_t b = 0; b < batch.molecules; ++b) {
    const int64_t n = batch.lengths[b], parts = (n + receivers - 1) / receivers;
    for (int64_t p = 0; p < parts; ++p) {
      const int64_t first = n * p / parts, last = n * (p + 1) / parts;
      chunks.push_back({b, first, last - first});
    }
  }
  return chunks;
}

std::vector<int64_t> group(const Batch& batch, const std::vector<Chunk>& chunks, int64_t pairs_each) {
  int64_t pairs = 0;
  for (const Chunk& c : chunks) pairs += c.rows * batch.lengths[c.molecule];
  const int64_t groups = std::clamp<int64_t>(pairs / pairs_each, 1, kGroups);
  std::vector<int64_t> starts{0};
  int64_t done = 0;
  for (size_t c = 0; c < chunks.size(); ++c) {
    done += chunks[c].rows * batch.lengths[chunks[c].molecule];
    const bool last = c + 1 == chunks.size();
    if (last || done * groups >= pairs * static_cast<int64_t>(starts.size()))
      starts.push_back(static_cast<int64_t>(c) + 1);
  }
  return starts;
}

char* Scratch::reserve(int64_t bytes) {
  if (size_ < bytes + 63) {
    size_ = bytes + bytes / 4 + 63;
    bytes_.reset(new char[size_]);
  }
  const uintptr_t base = reinterpret_cast<uintptr_t>(bytes_.get());
  return bytes_.get() + ((base + 63) / 64 * 64 - base);
}

const Item& Plan::build(const Chunk& chunk) {
  const Batch& batch = problem_.batch;
  const int64_t n = batch.lengths[chunk.molecule];
  item_.token = batch.offsets[chunk.molecule];
  item_.size = n;
  item_.first = chunk.first;
  item_.rows = chunk.rows;
  item_.pair_step = batch.pair_stride ? batch.pair_stride : n;
  item_.pair_row = batch.pair_offsets[chunk.molecule] + chunk.first * item_.pair_step;
  item_.stride = (n + kSlotPadding - 1) / kSlotPadding * kSlotPadding;
  const size_t slots = item_.rows * item_.stride;
  count_.resize(item_.rows);
  sender_.resize(slots);
  item_.count = count_.data();
  item_.sender = sender_.data();
  if (!problem_.index.data || !runs_) build_list();
  if (!problem_.index.data) return item_;
  rows_.start();
  const auto build = [&](auto* index) { runs_ ? build_runs(index) : build_table(index); };
  switch (problem_.index.type) {
    case Type::UInt8:
      build(static_cast<const uint8_t*>(problem_.index.data));
      break;
    case Type::Int16:
      build(static_cast<const int16_t*>(problem_.index.data));
      break;
    case Type::Int64:
      build(static_cast<const int64_t*>(problem_.index.data));
      break;
    default:
      build(static_cast<const int32_t*>(problem_.index.data));
  }
  item_.table = table_.data();
  item_.run = run_.data();
  item_.num_runs = num_runs_.data();
  item_.run_start = run_start_.data();
  item_.run_table = run_table_.data();
  return item_;
}

int64_t Plan::next_allowed(int64_t r, int64_t j) const {
  const uint8_t* mask = problem_.mask ? problem_.mask + item_.pair_row + r * item_.pair_step : nullptr;
  while (j < item_.size && ((mask && !mask[j]) || (problem_.exclude_self && j == item_.first + r))) ++j;
  return j;
}

void Plan::pad(int64_t r) {
  int32_t* sender = sender_.data() + r * item_.stride;
  for (int64_t e = count_[r]; e % kSlotPadding; ++e) sender[e] = sender[e - 1];
}

void Plan::build_list() {
  for (int64_t r = 0; r < item_.rows; ++r) {
    int32_t* sender = sender_.data() + r * item_.stride;
    int32_t count = 0;
    for (int64_t j = next_allowed(r, 0); j < item_.size; j = next_allowed(r, j + 1))
      sender[count++] = static_cast<int32_t>(j);
    count_[r] = count;
    pad(r);
  }
}

template <class Index>
int32_t Plan::table_row(const Index* index, int64_t pair) {
  const int64_t value = static_cast<int64_t>(index[pair]), limit = problem_.table_rows;
  if (static_cast<uint64_t>(value) >= static_cast<uint64_t>(limit)) {
    throw std::out_of_range("index " + std::to_string(value) + " of pair row " + std::to_string(pair) +
                            " is out of range [0, " + std::to_string(limit) + ")");
  }
  return rows_(value);
}

template <class Index>
void Plan::build_table(const Index* index) {
  table_.resize(item_.rows * item_.stride);
  for (int64_t r = 0; r < item_.rows; ++r) {
    const int64_t pair = item_.pair_row + r * item_.pair_step, first = r * item_.stride;
    for (int64_t e = first; e < first + count_[r]; ++e) table_[e] = table_row(index, pair + sender_[e]);
  }
}

template <class Index>
void Plan::build_runs(const Index* index) {
  const size_t slots = item_.rows * item_.stride;
  num_runs_.resize(item_.rows);
  run_.resize(slots);
  run_table_.resize(slots);
  run_start_.resize(slots + item_.rows);
  allowed_.resize(item_.stride);
  allowed_run_.resize(item_.stride);
  next_.resize(item_.stride);
  for (int64_t r = 0; r < item_.rows; ++r) {
    const int64_t pair = item_.pair_row + r * item_.pair_step;
    int32_t* start = run_start_.data() + r * (item_.stride + 1);
    int32_t* table = run_table_.data() + r * item_.stride;
    int32_t count = 0, runs = 0;
    for (int64_t j = next_allowed(r, 0); j < item_.size; j = next_allowed(r, j + 1)) {
      const int32_t row = table_row(index, pair + j);
      if (row >= static_cast<int32_t>(run_of_row_.size())) run_of_row_.push_back(-1);
      int32_t run = run_of_row_[row];
      if (run < 0) {
        run = run_of_row_[row] = runs;
        table[runs] = row;
        next_[runs++] = 0;
      }
      ++next_[run];
      allowed_[count] = static_cast<int32_t>(j);
      allowed_run_[count++] = run;
    }
    for (int32_t run = 0, at = 0; run < runs; ++run) {
      const int32_t length = next_[run];
      start[run] = next_[run] = at;
      at += length;
      run_of_row_[table[run]] = -1;
    }
    start[runs] = count;
    int32_t* sender = sender_.data() + r * item_.stride;
    int32_t* run_of = run_.data() + r * item_.stride;
    for (int32_t e = 0; e < count; ++e) {
      const int32_t slot = next_[allowed_run_[e]]++;
      sender[slot] = allowed_[e];
      run_of[slot] = allowed_run_[e];
    }
    for (int32_t e = count; e % kSlotPadding; ++e) run_of[e] = run_of[e - 1];
    count_[r] = count;
    num_runs_[r] = runs;
    pad(r);
  }
}

const void* Plan::gather_bias() {
  if (!problem_.bias.data) return nullptr;
  const int64_t H = problem_.heads;
  bias_.resize(item_.rows * H * item_.stride);
  const auto fill = [&](auto* to) {
    for (int64_t r = 0; r < item_.rows; ++r) {
      const int32_t* sender = item_.sender + r * item_.stride;
      const int64_t pair = item_.pair_row + r * item_.pair_step;
      const int64_t padded = (item_.count[r] + kSlotPadding - 1) / kSlotPadding * kSlotPadding;
      for (int64_t e = 0; e < padded; ++e) {
        for (int64_t h = 0; h < H; ++h) {
          using Compute = std::remove_reference_t<decltype(*to)>;
          to[(r * H + h) * item_.stride + e] =
              read<Compute>(problem_.bias.data, problem_.bias.type, (pair + sender[e]) * H + h);
        }
      }
    }
  };
  if (problem_.double_precision) {
    fill(bias_.data());
  } else {
    fill(reinterpret_cast<float*>(bias_.data()));
  }
  return bias_.data();
}

void Plan::scatter_bias(const void* grad) const {
  const int64_t H = problem_.heads;
  for (int64_t r = 0; r < item_.rows; ++r) {
    const int32_t* sender = item_.sender + r * item_.stride;
    const int64_t pair = item_.pair_row + r * item_.pair_step;
    for (int64_t e = 0; e < item_.count[r]; ++e) {
      for (int64_t h = 0; h < H; ++h) {
        const int64_t from = (r * H + h) * item_.stride + e;
        const double value =
            problem_.double_precision ? static_cast<const double*>(grad)[from] : static_cast<const float*>(grad)[from];
        write(problem_.grad_bias.data, problem_.grad_bias.type, (pair + sender[e]) * H + h, value);
      }
    }
  }
}

}  // namespace ditkernels
