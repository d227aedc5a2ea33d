// Native operators, registered through torch's stable ABI, so that one build serves every torch from 2.10 up.
//
// They are the CPU back end of ditkernels.pair_attention: out-variants without autograd, called by impl/cpu.py with
// checked arguments. The checks here protect memory only; messages for users are written in Python.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <exception>
#include <mutex>
#include <optional>
#include <string>

#include "cpu/dispatch.h"
#include "cpu/pair_attention.h"

namespace {

using ditkernels::Rows;
using ditkernels::Type;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Optional = std::optional<Tensor>;

Type type_of(const Tensor& t, const char* name) {
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
Rows rows_of(const Optional& t, const char* name, int64_t rows, int64_t columns) {
  if (!t) return {};
  STD_TORCH_CHECK(t->is_cpu() && t->is_contiguous(), name, " must be a contiguous CPU tensor");
  STD_TORCH_CHECK(t->numel() == rows * columns, name, " has ", t->numel(), " elements, expected ", rows, " x ",
                  columns);
  return {t->data_ptr(), type_of(*t, name), rows, columns};
}

Rows typed(const Optional& t, const char* name, int64_t rows, int64_t columns, Type type) {
  const Rows result = rows_of(t, name, rows, columns);
  STD_TORCH_CHECK(!t || result.type == type, name, " has another dtype than expected");
  return result;
}

// A gradient: same size and dtype as what it belongs to.
Rows like(const Optional& t, const char* name, const Rows& of) { return typed(t, name, of.rows, of.columns, of.type); }

// torch's threads. An exception of a task is reported after the loop: it may not leave it through torch's C interface.
ditkernels::Threads torch_threads() {
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

// Tensors every call has: tokens, where the molecules lie, options.
void set_batch(ditkernels::PairAttention& p, const Tensor& query, const Tensor& key, const Tensor& value,
               const Tensor& out, const Tensor& lse, const Tensor& offsets, const Tensor& lengths,
               const Tensor& pair_offsets, int64_t pair_stride, int64_t pairs) {
  STD_TORCH_CHECK(query.dim() == 3, "query must have shape (tokens, heads, dim)");
  const int64_t tokens = query.size(0), molecules = offsets.numel();
  p.heads = query.size(1);
  p.dim = query.size(2);
  const int64_t channels = p.heads * p.dim;
  const Type type = type_of(query, "query");
  STD_TORCH_CHECK(type == Type::Float || type == Type::Double, "query must be float32 or float64");
  p.double_precision = type == Type::Double;
  p.query = typed(query, "query", tokens, channels, type).data;
  p.key = typed(key, "key", tokens, channels, type).data;
  p.value = typed(value, "value", tokens, channels, type).data;
  p.out = typed(out, "out", tokens, channels, type).data;
  p.lse = typed(lse, "lse", tokens, p.heads, type).data;
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

// The pair tensors, of which each form has its own. Rows and columns that they share are taken from the weights and
// tables.
struct PairTensors {
  const Optional &a, &b, &e, &weight_a, &weight_b, &positions, &v1, &index, &table_a, &table_b;
};

void set_pair(ditkernels::PairAttention& p, const PairTensors& t, const Optional& mask, const Optional& bias,
              double scale, bool exclude_self) {
  const int64_t tokens = p.batch.tokens, pairs = p.batch.pairs, channels = p.heads * p.dim;
  const Type type = p.double_precision ? Type::Double : Type::Float;
  p.scale = scale;
  p.exclude_self = exclude_self;
  p.mask = static_cast<const uint8_t*>(typed(mask, "mask", pairs, 1, Type::UInt8).data);
  p.bias = rows_of(bias, "bias", pairs, p.heads);
  p.a = rows_of(t.a, "a", pairs, channels);
  p.b = rows_of(t.b, "b", pairs, channels);
  const int64_t features = t.weight_a ? t.weight_a->size(0) : 0, rows = t.table_a ? t.table_a->size(0) : 0;
  p.e = rows_of(t.e, "e", pairs, features);
  p.weight_a = typed(t.weight_a, "weight_a", features, channels, type);
  p.weight_b = typed(t.weight_b, "weight_b", features, channels, type);
  p.positions = typed(t.positions, "positions", tokens, 3, type);
  p.v1 = typed(t.v1, "v1", 3, features, type);
  p.index = rows_of(t.index, "index", pairs, 1);
  p.table_a = typed(t.table_a, "table_a", rows, channels, type);
  p.table_b = typed(t.table_b, "table_b", rows, channels, type);
  STD_TORCH_CHECK(t.a || (t.weight_a && (t.e || (t.positions && t.v1))) || (!t.weight_a && t.index),
                  "one of a, (e, weight_a), (positions, v1, weight_a) and (index, table_a) must be given");
  STD_TORCH_CHECK(!t.index == !t.table_a, "index and table_a must be given together");
  STD_TORCH_CHECK(!t.b || p.b.type == p.a.type, "a and b must have the same dtype");
}

void pair_attention_forward(Tensor query, Tensor key, Tensor value, Optional a, Optional b, Optional e,
                            Optional weight_a, Optional weight_b, Optional positions, Optional v1, Optional index,
                            Optional table_a, Optional table_b, Tensor offsets, Tensor lengths, Tensor pair_offsets,
                            int64_t pair_stride, int64_t pairs, Optional mask, Optional bias, double scale,
                            bool exclude_self, Tensor out, Tensor lse) {
  ditkernels::PairAttention p;
  set_batch(p, query, key, value, out, lse, offsets, lengths, pair_offsets, pair_stride, pairs);
  set_pair(p, {a, b, e, weight_a, weight_b, positions, v1, index, table_a, table_b}, mask, bias, scale, exclude_self);
  ditkernels::forward(p, torch_threads());
}

void pair_attention_backward(Tensor grad_out, Tensor query, Tensor key, Tensor value, Tensor out, Tensor lse,
                             Optional a, Optional b, Optional e, Optional weight_a, Optional weight_b,
                             Optional positions, Optional v1, Optional index, Optional table_a, Optional table_b,
                             Tensor offsets, Tensor lengths, Tensor pair_offsets, int64_t pair_stride, int64_t pairs,
                             Optional mask, Optional bias, double scale, bool exclude_self, Tensor grad_query,
                             Tensor grad_key, Tensor grad_value, Optional grad_a, Optional grad_b, Optional grad_e,
                             Optional grad_weight_a, Optional grad_weight_b, Optional grad_positions, Optional grad_v1,
                             Optional grad_table_a, Optional grad_table_b, Optional grad_bias) {
  ditkernels::PairAttention p;
  set_batch(p, query, key, value, out, lse, offsets, lengths, pair_offsets, pair_stride, pairs);
  set_pair(p, {a, b, e, weight_a, weight_b, positions, v1, index, table_a, table_b}, mask, bias, scale, exclude_self);
  const int64_t tokens = p.batch.tokens, channels = p.heads * p.dim;
  const Type type = p.double_precision ? Type::Double : Type::Float;
  p.grad_out = typed(grad_out, "grad_out", tokens, channels, type).data;
  p.grad_query = typed(grad_query, "grad_query", tokens, channels, type).data;
  p.grad_key = typed(grad_key, "grad_key", tokens, channels, type).data;
  p.grad_value = typed(grad_value, "grad_value", tokens, channels, type).data;
  p.grad_a = like(grad_a, "grad_a", p.a);
  p.grad_b = like(grad_b, "grad_b", p.b);
  p.grad_e = like(grad_e, "grad_e", p.e);
  p.grad_weight_a = like(grad_weight_a, "grad_weight_a", p.weight_a);
  p.grad_weight_b = like(grad_weight_b, "grad_weight_b", p.weight_b);
  p.grad_positions = like(grad_positions, "grad_positions", p.positions);
  p.grad_v1 = like(grad_v1, "grad_v1", p.v1);
  p.grad_table_a = like(grad_table_a, "grad_table_a", p.table_a);
  p.grad_table_b = like(grad_table_b, "grad_table_b", p.table_b);
  p.grad_bias = like(grad_bias, "grad_bias", p.bias);
  ditkernels::backward(p, torch_threads());
}

std::string cpu_level() { return ditkernels::kernels(false).level; }

}  // namespace

STABLE_TORCH_LIBRARY(ditkernels_native, m) {
  m.def("cpu_level() -> str");
  // query, key, value, out: (T, H, D) float32 or float64, contiguous; lse: (T, H) of the same dtype. C = H * D.
  // Pair rows (P): molecule b's pair (i, j) is row pair_offsets[b] + i * (pair_stride or lengths[b]) + j.
  // a, b: (P, C); e: (P, F), in float32, float64 (with float64 tokens only), bfloat16 or float16. weight_a, weight_b:
  // (F, C), positions: (T, 3), v1: (3, F), table_a, table_b: (S, C), of the tokens' dtype; index: (P) uint8, int16,
  // int32 or int64. offsets, pair_offsets: (B) int64; lengths: (B) int32; pairs = P, or -1 if there is no tensor of
  // pairs; mask: (P) bool; bias: (P, H). out and lse are written for the tokens of the molecules only.
  m.def(
      "pair_attention_forward(Tensor query, Tensor key, Tensor value, Tensor? a, Tensor? b, Tensor? e, Tensor? "
      "weight_a, "
      "Tensor? weight_b, Tensor? positions, Tensor? v1, Tensor? index, Tensor? table_a, Tensor? table_b, Tensor "
      "offsets, "
      "Tensor lengths, Tensor pair_offsets, int pair_stride, int pairs, Tensor? mask, Tensor? bias, float scale, "
      "bool exclude_self, Tensor(a!) out, Tensor(b!) lse) -> ()");
  // Each gradient has the shape and dtype of what it belongs to. Those of query, key, value, positions and of a, b, e
  // are written for the molecules' tokens and pairs; those of weights, v1 and tables are added to, and that of the bias
  // is written for allowed pairs: zero them before.
  m.def(
      "pair_attention_backward(Tensor grad_out, Tensor query, Tensor key, Tensor value, Tensor out, Tensor lse, "
      "Tensor? a, "
      "Tensor? b, Tensor? e, Tensor? weight_a, Tensor? weight_b, Tensor? positions, Tensor? v1, Tensor? index, "
      "Tensor? table_a, Tensor? table_b, Tensor offsets, Tensor lengths, Tensor pair_offsets, int pair_stride, int "
      "pairs, "
      "Tensor? mask, Tensor? bias, float scale, bool exclude_self, Tensor(a!) grad_query, Tensor(b!) grad_key, "
      "Tensor(c!) grad_value, Tensor(d!)? grad_a, Tensor(e!)? grad_b, Tensor(f!)? grad_e, Tensor(g!)? grad_weight_a, "
      "Tensor(h!)? grad_weight_b, Tensor(i!)? grad_positions, Tensor(j!)? grad_v1, Tensor(k!)? grad_table_a, "
      "Tensor(l!)? grad_table_b, Tensor(m!)? grad_bias) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(ditkernels_native, CompositeExplicitAutograd, m) {
  m.impl("cpu_level", TORCH_BOX(&cpu_level));
}

STABLE_TORCH_LIBRARY_IMPL(ditkernels_native, CPU, m) {
  m.impl("pair_attention_forward", TORCH_BOX(&pair_attention_forward));
  m.impl("pair_attention_backward", TORCH_BOX(&pair_attention_backward));
}
