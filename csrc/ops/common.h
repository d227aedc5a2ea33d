// What the registrations of all operators share: tensors as plain rows, torch's threads, the arguments every call has.
//
// The checks here protect memory only; messages for users are written in Python.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <exception>
#include <mutex>
#include <optional>
#include <string>

#include "../cpu/attention.h"

namespace {


using ditkernels::Rows;
using ditkernels::Type;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Optional = std::optional<Tensor>;

[[maybe_unused]] Type type_of(const Tensor& t, const char* name) {
  switch (t.scalar_type()) {
    case ScalarType::Float:
      return Type::Float;
    case ScalarType::Double:
      return Type::Double;
    case ScalarType::BFloat16:
      return Type::BFloat16;
    case ScalarType::Half:
      return Type::Half;
    case ScalarType::Byte:
    case ScalarType::Bool:
      return Type::UInt8;
    case ScalarType::Short:
      return Type::Int16;
    case ScalarType::Int:
      return Type::Int32;
    case ScalarType::Long:
      return Type::Int64;
    default:
      STD_TORCH_CHECK(false, name, ": dtype ", torch::headeronly::toString(t.scalar_type()),
                      " is not supported on the CPU");
  }
}

// A contiguous CPU tensor of rows * columns elements; absent if there is no tensor.
[[maybe_unused]] Rows rows_of(const Optional& t, const char* name, int64_t rows, int64_t columns) {
  if (!t) return {};
  STD_TORCH_CHECK(t->is_cpu() && t->is_contiguous(), name, " must be a contiguous CPU tensor");
  STD_TORCH_CHECK(t->numel() == rows * columns, name, " has ", t->numel(), " elements, expected ", rows, " x ",
                  columns);
  return {t->data_ptr(), type_of(*t, name), rows, columns};
}

[[maybe_unused]] Rows typed(const Optional& t, const char* name, int64_t rows, int64_t columns, Type type) {
  const Rows result = rows_of(t, name, rows, columns);
  STD_TORCH_CHECK(!t || result.type == type, name, " has another dtype than expected");
  return result;
}

// A gradient: same size and dtype as what it belongs to.
[[maybe_unused]] Rows like(const Optional& t, const char* name, const Rows& of) {
  return typed(t, name, of.rows, of.columns, of.type);
}

// torch's threads. An exception of a task is reported after the loop: it may not leave it through torch's C interface.
[[maybe_unused]] ditkernels::Threads torch_threads() {
  ditkernels::Threads threads;
  threads.count = torch::stable::get_num_threads();
  threads.run = [](int64_t tasks, void (*task)(void*), void* context) {
    std::mutex lock;
    std::string error;
    torch::stable::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        try {
          task(context);
        } catch (const std::exception& e) {
          const std::lock_guard<std::mutex> guard(lock);
          error = e.what();
        }
      }
    });
    STD_TORCH_CHECK(error.empty(), error);
  };
  return threads;
}

// Where the molecules lie.
[[maybe_unused]] void set_layout(ditkernels::Attention& p, int64_t tokens, const Tensor& offsets, const Tensor& lengths,
                                 const Tensor& pair_offsets, int64_t pair_stride, int64_t pairs) {
  const int64_t molecules = offsets.numel();
  p.batch.molecules = molecules;
  p.batch.tokens = tokens;
  p.batch.pairs = pairs;
  p.batch.pair_stride = pair_stride;
  p.batch.offsets = static_cast<const int64_t*>(typed(offsets, "offsets", molecules, 1, Type::Int64).data);
  p.batch.lengths = static_cast<const int32_t*>(typed(lengths, "lengths", molecules, 1, Type::Int32).data);
  p.batch.pair_offsets =
      static_cast<const int64_t*>(typed(pair_offsets, "pair_offsets", molecules, 1, Type::Int64).data);
  for (int64_t b = 0; b < molecules; ++b) {
    const int64_t n = p.batch.lengths[b], first = p.batch.offsets[b], row = p.batch.pair_offsets[b];
    const int64_t step = pair_stride ? pair_stride : n;
    STD_TORCH_CHECK(n >= 0 && first >= 0 && first + n <= tokens && n <= step && row >= 0 &&
                        (n == 0 || pairs < 0 || row + (n - 1) * step + n <= pairs),
                    "molecule ", b, " reaches outside the tokens or the pair rows");
  }
}

// Heads, head width and compute type from the last axes of the queries (tokens, ..., heads, dim).
[[maybe_unused]] void set_heads(ditkernels::Attention& p, const Tensor& query, int64_t axes) {
  STD_TORCH_CHECK(query.dim() == axes, "query must have ", axes, " axes");
  p.heads = query.size(axes - 2);
  p.dim = query.size(axes - 1);
  const Type type = type_of(query, "query");
  STD_TORCH_CHECK(type == Type::Float || type == Type::Double, "query must be float32 or float64");
  p.double_precision = type == Type::Double;
}

[[maybe_unused]] Type compute_type(const ditkernels::Attention& p) {
  return p.double_precision ? Type::Double : Type::Float;
}

[[maybe_unused]] void set_options(ditkernels::Attention& p, const Optional& mask, const Optional& bias, double scale,
                                  bool exclude_self) {
  p.scale = scale;
  p.exclude_self = exclude_self;
  p.mask = static_cast<const uint8_t*>(typed(mask, "mask", p.batch.pairs, 1, Type::UInt8).data);
  p.bias = rows_of(bias, "bias", p.batch.pairs, p.heads);
}

}  // namespace
