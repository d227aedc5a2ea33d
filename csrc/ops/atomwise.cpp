// Registration of the operators between the matrix products of a transformer block.
#include "../cpu/atomwise/atomwise.h"

#include "common.h"

namespace {

bool is_double(const Tensor& t, const char* name) {
  const Type type = type_of(t, name);
  STD_TORCH_CHECK(type == Type::Float || type == Type::Double, name, " must be float32 or float64");
  return type == Type::Double;
}

// The components, kinds of norm and epsilons of the irreps; returns M.
int64_t set_irreps(ditkernels::NormIrreps& irreps, const Tensor& kinds, const Tensor& eps) {
  irreps.count = eps.numel();
  STD_TORCH_CHECK(irreps.count >= 1 && irreps.count <= ditkernels::kMaxIrreps, "there may be 1 to ",
                  ditkernels::kMaxIrreps, " irreps, got ", irreps.count);
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

void activation(Tensor x, Optional bias, int64_t scalar) {
  ditkernels::Activation p;
  STD_TORCH_CHECK(x.dim() == 3, "x must have 3 axes");
  p.double_precision = is_double(x, "x");
  const Type type = p.double_precision ? Type::Double : Type::Float;
  p.tokens = x.size(0);
  p.components = x.size(1);
  p.channels = x.size(2);
  p.scalar = scalar;
  STD_TORCH_CHECK(scalar >= 0 && scalar < p.components, "scalar must be one of the components");
  p.x = typed(x, "x", p.tokens, p.components * p.channels, type).data;
  p.bias = typed(bias, "bias", 1, p.channels, type).data;
  ditkernels::activation(p, torch_threads());
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(ditkernels_native, m) {
  // state, update, out: (T, M, C) float32 or float64, contiguous, as all others; table: (U, columns); rows: (T) int32;
  // bias: (C). kinds: (irreps, 2) int64, number of components and kind of norm (0 layer norm, 1 rms, 2 variance); eps:
  // (irreps) float64. gate, scale, shift: first columns of the table.
  m.def(
      "atomwise_transition(Tensor(a!) state, Tensor? update, Tensor? bias, Tensor table, Tensor rows, int gate, int "
      "scale, int shift, Tensor kinds, Tensor eps, Tensor(b!)? out) -> ()");
  // x: (T, M, C); bias: (C); scalar: the component that opens the gate.
  m.def("atomwise_activation(Tensor(a!) x, Tensor? bias, int scalar) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(ditkernels_native, CPU, m) {
  m.impl("atomwise_transition", TORCH_BOX(&transition));
  m.impl("atomwise_activation", TORCH_BOX(&activation));
}
