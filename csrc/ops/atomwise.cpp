// Registration of the operators between the matrix products of a transformer block.
#include "../cpu/atomwise/atomwise.h"

#include "common.h"

namespace {

bool is_double(const Tensor& t, const char* name) {
  const Type type = type_of(t, name);
  STD_TORCH_CHECK(type == Type::Float || type == Type::Double, name, " must be float32 or float64");
  return type == Type::Double;
}

void check_irreps(int64_t count) {
  STD_TORCH_CHECK(count >= 1 && count <= ditkernels::kMaxIrreps, "there may be 1 to ", ditkernels::kMaxIrreps,
                  " irreps, got ", count);
}

// The components, kinds of norm and epsilons of the irreps; returns M.
int64_t set_irreps(ditkernels::NormIrreps& irreps, const Tensor& kinds, const Tensor& eps) {
  irreps.count = eps.numel();
  check_irreps(irreps.count);
  const auto* numbers = static_cast<const int64_t*>(typed(kinds, "kinds", irreps.count, 2, Type::Int64).data);
  const auto* sizes = static_cast<const double*>(typed(eps, "eps", irreps.count, 1, Type::Double).data);
  int64_t components = 0;
  for (int64_t x = 0; x < irreps.count; ++x) {
    const int64_t size = numbers[2 * x], kind = numbers[2 * x + 1];
    STD_TORCH_CHECK(size >= 1 && kind >= 0 && kind <= 2 && (kind != 0 || size == 1), "kinds: irrep ", x, " is wrong");
    irreps.components[x] = size;
    irreps.kind[x] = static_cast<ditkernels::NormKind>(kind);
    irreps.eps[x] = sizes[x];
    components += size;
  }
  return components;
}

void transition(Tensor state, Optional update, Optional bias, Tensor table, Tensor rows, int64_t gate, int64_t scale,
                int64_t shift, Tensor kinds, Tensor eps, Optional out) {
  ditkernels::Transition p;
  STD_TORCH_CHECK(state.dim() == 3 && table.dim() == 2, "state must have 3 axes and table 2");
  p.double_precision = is_double(state, "state");
  const Type type = p.double_precision ? Type::Double : Type::Float;
  const int64_t components = set_irreps(p.irreps, kinds, eps);
  p.tokens = state.size(0);
  p.channels = state.size(2);
  STD_TORCH_CHECK(state.size(1) == components, "state must have ", components, " components");
  const int64_t columns = components * p.channels;
  p.state = typed(state, "state", p.tokens, columns, type).data;
  p.update = typed(update, "update", p.tokens, columns, type).data;
  p.bias = typed(bias, "bias", 1, p.channels, type).data;
  p.out = typed(out, "out", p.tokens, columns, type).data;
  p.row_size = table.size(1);
  p.table = typed(table, "table", table.size(0), p.row_size, type).data;
  p.rows = static_cast<const int32_t*>(typed(rows, "rows", p.tokens, 1, Type::Int32).data);
  for (int64_t t = 0; t < p.tokens; ++t) {
    STD_TORCH_CHECK(p.rows[t] >= 0 && p.rows[t] < table.size(0), "rows: ", p.rows[t], " of atom ", t,
                    " is outside the table of ", table.size(0), " rows");
  }
  const int64_t wide = p.irreps.count * p.channels;
  const auto inside = [&](int64_t first, int64_t size) { return first >= 0 && first + size <= p.row_size; };
  STD_TORCH_CHECK(!update || inside(gate, wide), "the gates reach outside the table");
  STD_TORCH_CHECK(!out || (inside(scale, wide) && inside(shift, p.channels)),
                  "the scales or the shift reach outside the table");
  p.gate = gate;
  p.scale = scale;
  p.shift = shift;
  ditkernels::transition(p, torch_threads());
}

void set_components(ditkernels::Components& irreps, const Tensor& components) {
  irreps.count = components.numel();
  check_irreps(irreps.count);
  const auto* sizes = static_cast<const int64_t*>(typed(components, "components", irreps.count, 1, Type::Int64).data);
  for (int64_t x = 0; x < irreps.count; ++x) {
    STD_TORCH_CHECK(sizes[x] >= 1, "components: irrep ", x, " has none");
    irreps.total += irreps.components[x] = sizes[x];
  }
}

Tensor pack_weight(Tensor weight) {
  STD_TORCH_CHECK(weight.dim() == 3, "weight must have 3 axes");
  const bool double_precision = is_double(weight, "weight");
  const int64_t irreps = weight.size(0), outputs = weight.size(1), inputs = weight.size(2);
  const int64_t size = ditkernels::packed_size(double_precision, inputs, outputs);
  const Type type = type_of(weight, "weight");
  const auto* from = static_cast<const char*>(typed(weight, "weight", irreps, outputs * inputs, type).data);
  Tensor packed = torch::stable::new_empty(weight, {irreps, size});
  const int64_t bytes = double_precision ? 8 : 4;
  for (int64_t x = 0; x < irreps; ++x) {
    ditkernels::pack(double_precision, inputs, outputs, from + x * outputs * inputs * bytes,
                     static_cast<char*>(packed.data_ptr()) + x * size * bytes);
  }
  return packed;
}

// (T, M, C) whose atoms may lie further apart than their components.
void* spaced(const Tensor& t, const char* name, Type type, int64_t tokens, int64_t components, int64_t channels,
             int64_t& step) {
  STD_TORCH_CHECK(t.is_cpu() && t.dim() == 3 && t.size(0) == tokens && t.size(1) == components &&
                      t.size(2) == channels,
                  name, " must be a CPU tensor (", tokens, ", ", components, ", ", channels, ")");
  STD_TORCH_CHECK(type_of(t, name) == type, name, " has another dtype than expected");
  step = t.stride(0);
  STD_TORCH_CHECK((channels == 1 || t.stride(2) == 1) && (components == 1 || t.stride(1) == channels) &&
                      (tokens <= 1 || step >= components * channels),
                  name, ": the channels of an atom must lie together");
  return t.data_ptr();
}

void dense(Tensor x, Tensor weight, Optional bias, Tensor components, Tensor out) {
  ditkernels::Dense p;
  STD_TORCH_CHECK(x.dim() == 3 && out.dim() == 3, "x and out must have 3 axes");
  p.double_precision = is_double(x, "x");
  const Type type = type_of(x, "x");
  set_components(p.irreps, components);
  p.tokens = x.size(0);
  p.inputs = x.size(2);
  p.outputs = out.size(2);
  p.x = spaced(x, "x", type, p.tokens, p.irreps.total, p.inputs, p.x_step);
  p.out = spaced(out, "out", type, p.tokens, p.irreps.total, p.outputs, p.out_step);
  const int64_t size = ditkernels::packed_size(p.double_precision, p.inputs, p.outputs);
  p.weight = typed(weight, "weight", p.irreps.count, size, type).data;
  STD_TORCH_CHECK(!bias || p.irreps.total == 1, "a bias is for scalars alone");
  p.bias = typed(bias, "bias", 1, p.outputs, type).data;
  ditkernels::dense(p, torch_threads());
}

void gated_mlp(Tensor x, Tensor up, Optional up_bias, Tensor down, Tensor components, int64_t scalar, int64_t hidden,
               Tensor out) {
  ditkernels::GatedMlp p;
  STD_TORCH_CHECK(x.dim() == 3, "x must have 3 axes");
  p.double_precision = is_double(x, "x");
  const Type type = type_of(x, "x");
  set_components(p.irreps, components);
  p.tokens = x.size(0);
  p.width = x.size(2);
  p.hidden = hidden;
  p.scalar = scalar;
  STD_TORCH_CHECK(hidden >= 1, "hidden must be positive");
  STD_TORCH_CHECK(scalar >= 0 && scalar < p.irreps.count && p.irreps.components[scalar] == 1,
                  "scalar must be an irrep of one component");
  p.x = typed(x, "x", p.tokens, p.irreps.total * p.width, type).data;
  p.out = typed(out, "out", p.tokens, p.irreps.total * p.width, type).data;
  p.up = typed(up, "up", p.irreps.count, ditkernels::packed_size(p.double_precision, p.width, hidden), type).data;
  p.down = typed(down, "down", p.irreps.count, ditkernels::packed_size(p.double_precision, hidden, p.width), type).data;
  p.up_bias = typed(up_bias, "up_bias", 1, hidden, type).data;
  ditkernels::gated_mlp(p, torch_threads());
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(ditkernels_native, m) {
  // state, update, out: (T, M, C) float32 or float64, contiguous, as all others; table: (U, columns); rows: (T) int32;
  // bias: (C). kinds: (irreps, 2) int64, number of components and kind of norm (0 layer norm, 1 rms, 2 variance); eps:
  // (irreps) float64. gate, scale, shift: first columns of the table.
  m.def(
      "atomwise_transition(Tensor(a!) state, Tensor? update, Tensor? bias, Tensor table, Tensor rows, int gate, int "
      "scale, int shift, Tensor kinds, Tensor eps, Tensor(b!)? out) -> ()");
  // weight: (irreps, outputs, inputs), contiguous; the packed weights belong to this process's kernels.
  m.def("atomwise_pack(Tensor weight) -> Tensor");
  // x: (T, M, inputs), out: (T, M, outputs), atoms at any distance; components: (irreps) int64, of each irrep.
  m.def("atomwise_dense(Tensor x, Tensor weight, Tensor? bias, Tensor components, Tensor(a!) out) -> ()");
  // x, out: (T, M, C), contiguous; up, down: packed; up_bias: (hidden); scalar: the irrep that opens the gates.
  m.def(
      "atomwise_gated_mlp(Tensor x, Tensor up, Tensor? up_bias, Tensor down, Tensor components, int scalar, int "
      "hidden, Tensor(a!) out) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(ditkernels_native, CPU, m) {
  m.impl("atomwise_transition", TORCH_BOX(&transition));
  m.impl("atomwise_pack", TORCH_BOX(&pack_weight));
  m.impl("atomwise_dense", TORCH_BOX(&dense));
  m.impl("atomwise_gated_mlp", TORCH_BOX(&gated_mlp));
}
