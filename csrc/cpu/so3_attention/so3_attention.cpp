#include "so3_attention.h"

#include "../dispatch.h"
#include "../parallel.h"
#include "../partials.h"
#include "../work.h"

namespace ditkernels {

DITKERNELS_CHOOSE(So3, So3Kernels)

namespace {

Problem common(const So3Attention& p) {
  Problem problem{};
  problem.heads = p.heads;
  problem.dim = p.dim;
  problem.channels = p.heads * p.dim;
  problem.scale = p.scale;
  problem.query = p.query;
  problem.key = p.key;
  problem.value = p.value;
  problem.out = p.out;
  problem.lse = p.lse;
  problem.grad_out = p.grad_out;
  problem.grad_query = p.grad_query;
  return problem;
}

So3Shape shape_of(const So3Attention& p) {
  So3Shape shape{};
  shape.qk = p.qk;
  shape.values = p.values;
  shape.outputs = p.outputs;
  shape.irreps = static_cast<int64_t>(p.irrep_start.size()) - 1;
  shape.irrep_start = p.irrep_start.data();
  shape.degrees = p.degrees;
  shape.filters = p.degrees * p.degrees;
  shape.paths = p.paths;
  shape.couplings = static_cast<int64_t>(p.couplings.size());
  shape.coupling = p.couplings.data();
  shape.positions = p.positions.data;
  shape.path_weight = p.path_weight.data;
  return shape;
}

// The couplings as the forward adds them up, output after output.
class CouplingsByOutput {
 public:
  explicit CouplingsByOutput(const So3Attention& p) : coupling_(p.couplings), start_(p.outputs + 1) {
    std::stable_sort(coupling_.begin(), coupling_.end(),
                     [](const Coupling& x, const Coupling& y) { return x.output < y.output; });
    for (const Coupling& c : coupling_) {
      ++start_[c.output + 1];
      place_.push_back(static_cast<int32_t>(c.filter * p.values + c.value));
    }
    std::partial_sum(start_.begin(), start_.end(), start_.begin());
  }
  void give(So3Shape& shape) const {
    shape.by_output = coupling_.data();
    shape.output_start = start_.data();
    shape.place = place_.data();
  }

 private:
  std::vector<Coupling> coupling_;
  std::vector<int32_t> start_, place_;
};

So3Rows rows_of(const So3Attention& p) { return {p.a.type, p.a.data, p.g.data, p.grad_a.data, p.grad_g.data}; }

// Chunks that are enough to share between threads, and their most receivers. In the basis form a chunk that holds a
// whole molecule projects every pair once for both directions, so that splitting a molecule pays only where there are
// few.
std::vector<Chunk> split_for(const So3Attention& p) {
  return p.a.data ? split(p.batch, 8, 128) : split(p.batch, 4, 256);
}
// Pairs per group of chunks that share a partial gradient: enough work to pay for clearing and adding it.
constexpr int64_t kGroup = 1024;

// Projections head by head: the columns of head h of a weight (K, X * C), that is x * C + h * D + d, as the matrix
// (K, X * D).
template <class T>
void take_head(const T* weight, int64_t K, int64_t X, int64_t C, int64_t D, int64_t h, T* to) {
  for (int64_t k = 0; k < K; ++k) {
    for (int64_t x = 0; x < X; ++x) {
      const T* from = weight + (k * X + x) * C + h * D;
      for (int64_t d = 0; d < D; ++d) to[(k * X + x) * D + d] = from[d];
    }
  }
}

// Weights of the basis form in the layout of the matrix kernels, made once per call and read by all threads.
template <class T>
class PackedWeights {
 public:
  PackedWeights(const So3Attention& p, const So3Kernels& k, bool backward) {
    if (!p.weight_a.data) return;
    const int64_t K = p.weight_a.rows, D = p.dim, A = static_cast<int64_t>(p.irrep_start.size()) - 1;
    basis_.kind = p.kind;
    basis_.count = K;
    basis_.cutoff = p.cutoff;
    basis_.scaling = p.scaling.data;
    if (p.kind == Basis::Bernstein && K <= kMaxBinomials) {
      binomial_.assign(K, 1.0);
      for (int64_t n = 1; n < K; ++n)
        binomial_[n] = binomial_[n - 1] * static_cast<double>(K - n) / static_cast<double>(n);
      basis_.binomial = binomial_.data();
    }
    basis_.packed_a = pack(p.weight_a, p, k, K, A * D, 1, false);
    basis_.packed_g = pack(p.weight_g, p, k, K, D, p.degrees, false);
    if (!backward) return;
    basis_.packed_at = pack(p.weight_a, p, k, K, A * D, 1, true);
    basis_.packed_gt = pack(p.weight_g, p, k, K, D, p.degrees, true);
  }
  const So3Basis& basis() const { return basis_; }

 private:
  // Per head `parts` matrices (K, columns) side by side in the weight's rows of a head; or their transposes.
  const T* pack(const Rows& weight, const So3Attention& p, const So3Kernels& k, int64_t K, int64_t columns,
                int64_t parts, bool transposed) {
    const int64_t C = p.heads * p.dim, X = columns * parts / p.dim;
    const int64_t rows = transposed ? columns : K, width = transposed ? K : columns, size = k.packed_size(rows, width);
    std::vector<T> head(K * X * p.dim), part(K * columns);
    buffers_.emplace_back();
    T* to = reinterpret_cast<T*>(
        buffers_.back().reserve(size * parts * p.heads * static_cast<int64_t>(sizeof(T))));
    for (int64_t h = 0; h < p.heads; ++h) {
      take_head(static_cast<const T*>(weight.data), K, X, C, p.dim, h, head.data());
      for (int64_t i = 0; i < parts; ++i) {
        for (int64_t r = 0; r < K; ++r) {
          for (int64_t c = 0; c < columns; ++c) part[r * columns + c] = head[(r * parts + i) * columns + c];
        }
        k.pack_weight(rows, width, part.data(), transposed, to + (h * parts + i) * size);
      }
    }
    return to;
  }

  So3Basis basis_{};
  std::vector<double> binomial_;
  std::vector<Scratch> buffers_;
};

std::vector<int64_t> costs(const So3Attention& p, const std::vector<Chunk>& chunks) {
  std::vector<int64_t> cost;
  for (const Chunk& c : chunks) cost.push_back(c.rows * p.batch.lengths[c.molecule]);
  return cost;
}

template <class T>
void forward_as(const So3Attention& p, const Threads& threads) {
  const So3Kernels& k = kernels(p.double_precision);
  const Problem problem = common(p);
  const CouplingsByOutput couplings(p);
  So3Shape shape = shape_of(p);
  couplings.give(shape);
  const So3Rows rows = rows_of(p);
  const PackedWeights<T> weights(p, k, false);
  const std::vector<Chunk> chunks = split_for(p);
  run_tasks(threads, by_cost(costs(p, chunks)), [&] {
    return [&, plan = Plan(p, false), scratch = Scratch()](int64_t task) mutable {
      const Item& item = plan.build(chunks[task]);
      const ItemBias bias{plan.gather_bias(), nullptr};
      So3Basis basis = weights.basis();
      basis.row = plan.table_rows().data();
      const So3Rows* dense = p.a.data ? &rows : nullptr;
      const So3Basis* projected = p.a.data ? nullptr : &basis;
      k.forward(problem, item, bias, shape, dense, projected,
                scratch.reserve(k.scratch(problem, item, shape, dense, projected, false)));
    };
  });
}

// What one group of chunks adds to the gradients of shared tensors. Of the scaling table it holds the rows it uses
// only.
template <class T>
struct SharedPartial {
  std::vector<int64_t> rows;
  std::vector<T> scaling;             // (rows, degrees * K)
  std::vector<T> weight_a, weight_g;  // head by head
  std::vector<double> path_weight;    // (paths, C)
};

// Runs the chunks of a group one after the other, adding their parts of shared gradients to the group's partial.
template <class T>
class GroupWorker {
 public:
  GroupWorker(const So3Attention& p, const So3Basis& basis, const TokenPartials<T>& tokens)
      : p_(p),
        k_(kernels(p.double_precision)),
        problem_(common(p)),
        shape_(shape_of(p)),
        rows_(rows_of(p)),
        basis_(basis),
        tokens_(tokens),
        plan_(p, false),
        number_(p.index.data ? p.table_rows : 0) {}

  void run(const std::vector<Chunk>& chunks, int64_t begin, int64_t end, SharedPartial<T>& partial) {
    number_.start();
    So3Basis basis = basis_;
    basis.grad_a = zeros(p_.grad_weight_a, partial.weight_a);
    basis.grad_g = zeros(p_.grad_weight_g, partial.weight_g);
    double* path_weight = zeros(p_.grad_path_weight, partial.path_weight);
    for (int64_t c = begin; c < end; ++c) {
      const Item& item = plan_.build(chunks[c]);
      ItemBias bias{plan_.gather_bias(), nullptr};
      if (p_.grad_bias.data) {
        grad_bias_.assign(item.rows * p_.heads * item.stride, T(0));
        bias.grad = grad_bias_.data();
      }
      table_of_item(basis, partial);
      const ItemGrad token = tokens_.target(c);
      const So3Grad grad{token.key, token.value, token.positions, path_weight};
      const So3Rows* dense = p_.a.data ? &rows_ : nullptr;
      const So3Basis* projected = p_.a.data ? nullptr : &basis;
      k_.backward(problem_, item, bias, shape_, dense, projected, grad,
                  scratch_.reserve(k_.scratch(problem_, item, shape_, dense, projected, true)));
      if (bias.grad) plan_.scatter_bias(bias.grad);
    }
    partial.rows = number_.values();
  }

 private:
  template <class U>
  static U* zeros(const Rows& wanted, std::vector<U>& buffer) {
    if (!wanted.data) return nullptr;
    buffer.assign(wanted.rows * wanted.columns, U(0));
    return buffer.data();
  }

  // Gives the rows of the item a place in the group's partial.
  void table_of_item(So3Basis& basis, SharedPartial<T>& partial) {
    if (!p_.index.data) return;
    basis.row = plan_.table_rows().data();
    if (!p_.grad_scaling.data) return;
    grad_row_.clear();
    for (int64_t row : plan_.table_rows()) grad_row_.push_back(number_(row));
    partial.scaling.resize(number_.values().size() * p_.grad_scaling.columns);
    basis.grad_row = grad_row_.data();
    basis.grad_scaling = partial.scaling.data();
  }

  const So3Attention& p_;
  const So3Kernels& k_;
  const Problem problem_;
  const So3Shape shape_;
  const So3Rows rows_;
  const So3Basis& basis_;
  const TokenPartials<T>& tokens_;
  Plan plan_;
  Scratch scratch_;
  Numbering number_;
  std::vector<T> grad_bias_;
  std::vector<int64_t> grad_row_;
};

// Adds gradients of weights, head by head with `parts` matrices (K, columns) each, to the result (K, parts, columns of
// all heads).
template <class T>
void add_heads(const So3Attention& p, const std::vector<T>& from, int64_t parts, const Rows& result) {
  if (!result.data) return;
  const int64_t K = result.rows, C = p.heads * p.dim, X = result.columns / C, inner = X / parts;
  T* to = static_cast<T*>(result.data);
  for (int64_t h = 0, at = 0; h < p.heads; ++h) {
    for (int64_t i = 0; i < parts; ++i) {
      for (int64_t k = 0; k < K; ++k) {
        for (int64_t x = 0; x < inner; ++x) {
          for (int64_t d = 0; d < p.dim; ++d, ++at)
            to[(k * X + i * inner + x) * C + h * p.dim + d] += from[at];
        }
      }
    }
  }
}

// The groups' sums of one shared gradient, in group order.
template <class T>
std::vector<T> sum_groups(const std::vector<SharedPartial<T>>& partials, std::vector<T> SharedPartial<T>::* part,
                          const Rows& wanted, const Threads& threads) {
  if (!wanted.data) return {};
  std::vector<T> sum(wanted.rows * wanted.columns, T(0));
  Rows to = wanted;
  to.data = sum.data();
  add_matrices<T>(partials, part, to, threads);
  return sum;
}

template <class T>
void backward_as(const So3Attention& p, const Threads& threads) {
  const PackedWeights<T> weights(p, kernels(p.double_precision), true);
  const std::vector<Chunk> chunks = split_for(p);
  const bool shared = p.grad_path_weight.data || p.grad_weight_a.data || p.grad_weight_g.data || p.grad_scaling.data;
  const std::vector<int64_t> groups =
      shared ? group(p.batch, chunks, kGroup) : in_order(static_cast<int64_t>(chunks.size()) + 1);
  const TokenPartials<T> tokens(p, chunks);
  std::vector<SharedPartial<T>> partials(groups.size() - 1);
  const std::vector<int64_t> cost = costs(p, chunks);
  std::vector<int64_t> group_cost;
  for (size_t g = 0; g + 1 < groups.size(); ++g) {
    group_cost.push_back(std::accumulate(cost.begin() + groups[g], cost.begin() + groups[g + 1], int64_t{0}));
  }
  run_tasks(threads, by_cost(group_cost), [&] {
    return [&, worker = GroupWorker<T>(p, weights.basis(), tokens)](int64_t g) mutable {
      worker.run(chunks, groups[g], groups[g + 1], partials[g]);
    };
  });
  tokens.reduce(threads);
  add_tables(partials, &SharedPartial<T>::scaling, p.grad_scaling, threads);
  add_matrices<T>(partials, &SharedPartial<T>::path_weight, p.grad_path_weight, threads);
  add_heads(p, sum_groups(partials, &SharedPartial<T>::weight_a, p.grad_weight_a, threads), 1, p.grad_weight_a);
  add_heads(p, sum_groups(partials, &SharedPartial<T>::weight_g, p.grad_weight_g, threads), p.degrees,
            p.grad_weight_g);
}

}  // namespace

void forward(const So3Attention& p, const Threads& threads) {
  p.double_precision ? forward_as<double>(p, threads) : forward_as<float>(p, threads);
}

void backward(const So3Attention& p, const Threads& threads) {
  p.double_precision ? backward_as<double>(p, threads) : backward_as<float>(p, threads);
}

}  // namespace ditkernels
