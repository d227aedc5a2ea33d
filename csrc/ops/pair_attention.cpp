// The CPU back end of ditkernels.pair_attention: out-variants without autograd, called by impl/cpu.py with checked
// arguments.
#include "../cpu/pair_attention/pair_attention.h"

#include "common.h"

namespace {

// Tokens and where the molecules lie.
void set_batch(ditkernels::PairAttention& p, const Tensor& query, const Tensor& key, const Tensor& value,
               const Tensor& out, const Tensor& lse, const Tensor& offsets, const Tensor& lengths,
               const Tensor& pair_offsets, int64_t pair_stride, int64_t pairs) {
  set_heads(p, query, 3);
  const int64_t tokens = query.size(0), channels = p.heads * p.dim;
  set_layout(p, tokens, offsets, lengths, pair_offsets, pair_stride, pairs);
  const Type type = compute_type(p);
  p.key_columns = p.value_columns = channels;
  p.query = typed(query, "query", tokens, channels, type).data;
  p.key = typed(key, "key", tokens, channels, type).data;
  p.value = typed(value, "value", tokens, channels, type).data;
  p.out = typed(out, "out", tokens, channels, type).data;
  p.lse = typed(lse, "lse", tokens, p.heads, type).data;
}

// The pair tensors, of which each form has its own. Rows and columns that they share are taken from the weights and
// tables.
struct PairTensors {
  const Optional &a, &b, &e, &weight_a, &weight_b, &positions, &v1, &index, &table_a, &table_b;
};

void set_pair(ditkernels::PairAttention& p, const PairTensors& t, const Optional& mask, const Optional& bias,
              double scale, bool exclude_self) {
  const int64_t tokens = p.batch.tokens, pairs = p.batch.pairs, channels = p.heads * p.dim;
  const Type type = compute_type(p);
  set_options(p, mask, bias, scale, exclude_self);
  p.a = rows_of(t.a, "a", pairs, channels);
  p.b = rows_of(t.b, "b", pairs, channels);
  const int64_t features = t.weight_a ? t.weight_a->size(0) : 0, rows = t.table_a ? t.table_a->size(0) : 0;
  p.e = rows_of(t.e, "e", pairs, features);
  p.weight_a = typed(t.weight_a, "weight_a", features, channels, type);
  p.weight_b = typed(t.weight_b, "weight_b", features, channels, type);
  p.positions = typed(t.positions, "positions", tokens, 3, type);
  p.v1 = typed(t.v1, "v1", 3, features, type);
  p.index = rows_of(t.index, "index", pairs, 1);
  p.table_rows = rows;
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
  const Type type = compute_type(p);
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

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(ditkernels_native, m) {
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

STABLE_TORCH_LIBRARY_IMPL(ditkernels_native, CPU, m) {
  m.impl("pair_attention_forward", TORCH_BOX(&pair_attention_forward));
  m.impl("pair_attention_backward", TORCH_BOX(&pair_attention_backward));
}
