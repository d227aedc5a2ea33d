// The CPU back end of ditkernels.so3_attention: out-variants without autograd, called by impl/cpu.py with checked
// arguments.
#include "../cpu/so3_attention/so3_attention.h"

#include "../so3_tables.h"
#include "common.h"

namespace {

using ditkernels::Coupling;
using ditkernels::So3Attention;

// Irreps of a call as one tensor of int64: the numbers of irreps of queries, values and outputs, of filter degrees and
// of paths; the degrees of those irreps; then for each path its filter degree, value irrep and output irrep.
void set_irreps(So3Attention& p, const Tensor& irreps) {
  STD_TORCH_CHECK(irreps.is_cpu() && irreps.is_contiguous() && irreps.scalar_type() == ScalarType::Long,
                  "irreps must be a contiguous CPU tensor of int64");
  const int64_t* at = static_cast<const int64_t*>(irreps.data_ptr());
  const int64_t lists[3] = {at[0], at[1], at[2]};
  p.degrees = at[3];
  p.paths = at[4];
  const int64_t total = lists[0] + lists[1] + lists[2];
  STD_TORCH_CHECK(irreps.numel() == 5 + total + 3 * p.paths && p.degrees >= 1 && p.degrees <= 3,
                  "irreps has the wrong size");
  const int64_t *degree = at + 5, *path = degree + total;
  std::vector<int64_t> start[3];
  for (int list = 0; list < 3; ++list) {
    start[list] = {0};
    for (int64_t i = 0; i < lists[list]; ++i, ++degree) {
      STD_TORCH_CHECK(*degree >= 0 && *degree <= ditkernels::kMaxDegree, "irreps has a degree out of range");
      start[list].push_back(start[list].back() + 2 * *degree + 1);
    }
  }
  p.qk = start[0].back();
  p.values = start[1].back();
  p.outputs = start[2].back();
  STD_TORCH_CHECK(p.qk <= 18 && p.values <= 18 && p.outputs <= 18, "irreps has too many components");
  p.irrep_start.assign(start[0].begin(), start[0].end());
  degree = at + 5 + lists[0];
  for (int64_t i = 0; i < p.paths; ++i, path += 3) {
    const int64_t J = path[0], x = path[1], o = path[2];
    STD_TORCH_CHECK(J >= 0 && J < p.degrees && x >= 0 && x < lists[1] && o >= 0 && o < lists[2],
                    "irreps has a path out of range");
    const int entry = ditkernels::cg_path(static_cast<int>(J), static_cast<int>(degree[x]),
                                          static_cast<int>(degree[lists[1] + o]));
    for (int e = ditkernels::kCgOffset[entry]; e < ditkernels::kCgOffset[entry + 1]; ++e) {
      p.couplings.push_back({static_cast<int32_t>(i), static_cast<int32_t>(J * J + ditkernels::kCgFilter[e]),
                             static_cast<int32_t>(start[1][x] + ditkernels::kCgValue[e]),
                             static_cast<int32_t>(start[2][o] + ditkernels::kCgOutput[e]),
                             ditkernels::kCgCoefficient[e]});
    }
  }
}

struct Arguments {
  const Tensor &query, &key, &value, &out, &lse, &positions, &path_weight;
  const Optional &a, &g, &weight_a, &weight_g, &index, &scaling;
  const Tensor &offsets, &lengths, &pair_offsets;
  int64_t pair_stride, pairs;
  const Optional &mask, &bias;
  double scale;
  bool exclude_self;
  const Tensor& irreps;
  int64_t kind;
  double cutoff;
};

So3Attention problem_of(const Arguments& t) {
  So3Attention p;
  set_heads(p, t.query, 4);
  set_irreps(p, t.irreps);
  const int64_t tokens = t.query.size(0), C = p.heads * p.dim;
  set_layout(p, tokens, t.offsets, t.lengths, t.pair_offsets, t.pair_stride, t.pairs);
  set_options(p, t.mask, t.bias, t.scale, t.exclude_self);
  const Type type = compute_type(p);
  p.key_columns = p.qk * C;
  p.value_columns = p.values * C;
  p.query = typed(t.query, "query", tokens, p.qk * C, type).data;
  p.key = typed(t.key, "key", tokens, p.qk * C, type).data;
  p.value = typed(t.value, "value", tokens, p.values * C, type).data;
  p.out = typed(t.out, "out", tokens, p.outputs * C, type).data;
  p.lse = typed(t.lse, "lse", tokens, p.heads, type).data;
  p.positions = typed(t.positions, "positions", tokens, 3, type);
  p.path_weight = typed(t.path_weight, "path_weight", p.paths, C, type);
  const int64_t irreps = static_cast<int64_t>(p.irrep_start.size()) - 1, K = t.weight_a ? t.weight_a->size(0) : 0;
  p.table_rows = t.scaling ? t.scaling->size(0) : 0;
  p.a = rows_of(t.a, "a", t.pairs, irreps * C);
  p.g = rows_of(t.g, "g", t.pairs, p.degrees * C);
  p.weight_a = typed(t.weight_a, "weight_a", K, irreps * C, type);
  p.weight_g = typed(t.weight_g, "weight_g", K, p.degrees * C, type);
  p.index = rows_of(t.index, "index", t.pairs, 1);
  p.scaling = typed(t.scaling, "scaling", p.table_rows, p.degrees * K, type);
  STD_TORCH_CHECK(t.a ? t.g && p.g.type == p.a.type : t.weight_a && t.weight_g,
                  "one of (a, g), of one dtype, and (weight_a, weight_g) must be given");
  STD_TORCH_CHECK(!t.index == !t.scaling, "index and scaling must be given together");
  STD_TORCH_CHECK(t.kind >= 0 && t.kind <= 2, "kind must be 0, 1 or 2");
  p.kind = static_cast<ditkernels::Basis>(t.kind);
  p.cutoff = t.cutoff;
  return p;
}

void so3_attention_forward(Tensor query, Tensor key, Tensor value, Tensor positions, Tensor path_weight, Optional a,
                           Optional g, Optional weight_a, Optional weight_g, Optional index, Optional scaling,
                           Tensor offsets, Tensor lengths, Tensor pair_offsets, int64_t pair_stride, int64_t pairs,
                           Optional mask, Optional bias, double scale, bool exclude_self, Tensor irreps, int64_t kind,
                           double cutoff, Tensor out, Tensor lse) {
  const So3Attention p = problem_of({query, key, value, out, lse, positions, path_weight, a, g, weight_a, weight_g,
                                     index, scaling, offsets, lengths, pair_offsets, pair_stride, pairs, mask, bias,
                                     scale, exclude_self, irreps, kind, cutoff});
  ditkernels::forward(p, torch_threads());
}

void so3_attention_backward(Tensor grad_out, Tensor query, Tensor key, Tensor value, Tensor out, Tensor lse,
                            Tensor positions, Tensor path_weight, Optional a, Optional g, Optional weight_a,
                            Optional weight_g, Optional index, Optional scaling, Tensor offsets, Tensor lengths,
                            Tensor pair_offsets, int64_t pair_stride, int64_t pairs, Optional mask, Optional bias,
                            double scale, bool exclude_self, Tensor irreps, int64_t kind, double cutoff,
                            Tensor grad_query, Tensor grad_key, Tensor grad_value, Optional grad_positions,
                            Optional grad_path_weight, Optional grad_a, Optional grad_g, Optional grad_weight_a,
                            Optional grad_weight_g, Optional grad_scaling, Optional grad_bias) {
  So3Attention p = problem_of({query, key, value, out, lse, positions, path_weight, a, g, weight_a, weight_g, index,
                               scaling, offsets, lengths, pair_offsets, pair_stride, pairs, mask, bias, scale,
                               exclude_self, irreps, kind, cutoff});
  const Type type = compute_type(p);
  const int64_t tokens = p.batch.tokens, C = p.heads * p.dim;
  p.grad_out = typed(grad_out, "grad_out", tokens, p.outputs * C, type).data;
  p.grad_query = typed(grad_query, "grad_query", tokens, p.qk * C, type).data;
  p.grad_key = typed(grad_key, "grad_key", tokens, p.qk * C, type).data;
  p.grad_value = typed(grad_value, "grad_value", tokens, p.values * C, type).data;
  p.grad_positions = like(grad_positions, "grad_positions", p.positions);
  p.grad_path_weight = like(grad_path_weight, "grad_path_weight", p.path_weight);
  p.grad_a = like(grad_a, "grad_a", p.a);
  p.grad_g = like(grad_g, "grad_g", p.g);
  p.grad_weight_a = like(grad_weight_a, "grad_weight_a", p.weight_a);
  p.grad_weight_g = like(grad_weight_g, "grad_weight_g", p.weight_g);
  p.grad_scaling = like(grad_scaling, "grad_scaling", p.scaling);
  p.grad_bias = like(grad_bias, "grad_bias", p.bias);
  ditkernels::backward(p, torch_threads());
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(ditkernels_native, m) {
  // query, key: (T, Mq, H, D), value: (T, Mv, H, D), out: (T, Mo, H, D), float32 or float64, contiguous; lse: (T, H) of
  // the same dtype. C = H * D; A irreps of queries, J filter degrees, W paths, K radial functions.
  // Pair rows (P): molecule b's pair (i, j) is row pair_offsets[b] + i * (pair_stride or lengths[b]) + j.
  // positions: (T, 3), path_weight: (W, C), weight_a: (K, A, C), weight_g: (K, J, C), scaling: (S, J, K), of the
  // tokens' dtype; a: (P, A, C), g: (P, J, C), in float32, float64 (with float64 tokens only), bfloat16 or float16;
  // index: (P) uint8, int16, int32 or int64. offsets, pair_offsets: (B) int64; lengths: (B) int32; pairs = P, or -1 if
  // there is no tensor of pairs; mask: (P) bool; bias: (P, H). irreps: see set_irreps. kind: 0 Bernstein, 1 Gaussian, 2
  // Bessel. out and lse are written for the tokens of the molecules only.
  m.def(
      "so3_attention_forward(Tensor query, Tensor key, Tensor value, Tensor positions, Tensor path_weight, Tensor? a, "
      "Tensor? g, Tensor? weight_a, Tensor? weight_g, Tensor? index, Tensor? scaling, Tensor offsets, Tensor lengths, "
      "Tensor pair_offsets, int pair_stride, int pairs, Tensor? mask, Tensor? bias, float scale, bool exclude_self, "
      "Tensor irreps, int kind, float cutoff, Tensor(a!) out, Tensor(b!) lse) -> ()");
  // Each gradient has the shape and dtype of what it belongs to. Those of query, key, value, positions and of a and g
  // are written for the molecules' tokens and pairs; those of path weights, weights and scaling are added to, and that
  // of the bias is written for allowed pairs: zero them before.
  m.def(
      "so3_attention_backward(Tensor grad_out, Tensor query, Tensor key, Tensor value, Tensor out, Tensor lse, Tensor "
      "positions, Tensor path_weight, Tensor? a, Tensor? g, Tensor? weight_a, Tensor? weight_g, Tensor? index, Tensor? "
      "scaling, Tensor offsets, Tensor lengths, Tensor pair_offsets, int pair_stride, int pairs, Tensor? mask, Tensor? "
      "bias, float scale, bool exclude_self, Tensor irreps, int kind, float cutoff, Tensor(a!) grad_query, Tensor(b!) "
      "grad_key, Tensor(c!) grad_value, Tensor(d!)? grad_positions, Tensor(e!)? grad_path_weight, Tensor(f!)? grad_a, "
      "Tensor(g!)? grad_g, Tensor(h!)? grad_weight_a, Tensor(i!)? grad_weight_g, Tensor(j!)? grad_scaling, Tensor(k!)? "
      "grad_bias) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(ditkernels_native, CPU, m) {
  m.impl("so3_attention_forward", TORCH_BOX(&so3_attention_forward));
  m.impl("so3_attention_backward", TORCH_BOX(&so3_attention_backward));
}
