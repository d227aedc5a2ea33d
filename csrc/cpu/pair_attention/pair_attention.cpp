#include "pair_attention.h"

#include "../dispatch.h"
#include "../parallel.h"
#include "../partials.h"
#include "../work.h"
#include "kernels.h"

namespace ditkernels {

DITKERNELS_CHOOSE(Pair, PairKernels)

namespace {

Problem common(const PairAttention& p) {
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

// Displacements are dear per pair and half the price in whole molecules, so they are content with fewer, larger chunks.
std::vector<Chunk> split(const PairAttention& p) {
  return p.positions.data ? split(p.batch, 4, 256) : split(p.batch, 16, 128);
}

DenseRows dense_rows(const PairAttention& p) {
  DenseRows rows{};
  rows.type = p.a.type;
  rows.a = p.a.data;
  rows.b = p.b.data ? p.b.data : p.a.data;
  rows.grad_a = p.grad_a.data;
  rows.grad_b = p.b.data ? p.grad_b.data : p.grad_a.data;
  return rows;
}

ItemTable item_table(const PairAttention& p, const std::vector<int64_t>& rows) {
  ItemTable table{};
  if (!p.index.data) return table;
  table.rows = static_cast<int64_t>(rows.size());
  table.row = rows.data();
  table.table_a = p.table_a.data;
  table.table_b = p.table_b.data ? p.table_b.data : p.table_a.data;
  return table;
}

// What one group of chunks adds to the gradients of shared tensors. Of tables it holds the rows it uses only.
template <class T>
struct SharedPartial {
  std::vector<int64_t> rows;
  std::vector<T> table_a, table_b;    // (rows, C)
  std::vector<T> weight_a, weight_b;  // (F, C)
  std::vector<T> v1;                  // (3, F)
};

// Pairs per group of chunks that share a partial gradient: enough work to pay for clearing and adding it.
constexpr int64_t kTableGroup = 4096, kProjectedGroup = 512;

// Weights in the layout of the matrix kernels, made once per call and read by all threads.
template <class T>
class PackedWeights {
 public:
  PackedWeights(const PairAttention& p, const PairKernels& k, bool backward) {
    if (!p.weight_a.data) return;
    projection_.features = p.weight_a.rows;
    projection_.type = p.e.type;
    projection_.e = p.e.data;
    projection_.positions = p.positions.data;
    projection_.v1 = p.v1.data;
    projection_.grad_e = p.grad_e.data;
    projection_.packed_a = pack(p.weight_a, k, false);
    projection_.packed_b = p.weight_b.data ? pack(p.weight_b, k, false) : projection_.packed_a;
    if (!backward) return;
    projection_.packed_at = pack(p.weight_a, k, true);
    projection_.packed_bt = p.weight_b.data ? pack(p.weight_b, k, true) : projection_.packed_at;
  }
  const Projection& projection() const { return projection_; }

 private:
  const T* pack(const Rows& weight, const PairKernels& k, bool transposed) {
    const int64_t rows = transposed ? weight.columns : weight.rows, columns = transposed ? weight.rows : weight.columns;
    buffers_.emplace_back();
    char* to = buffers_.back().reserve(k.packed_size(rows, columns) * static_cast<int64_t>(sizeof(T)));
    k.pack_weight(rows, columns, weight.data, transposed, to);
    return reinterpret_cast<const T*>(to);
  }

  Projection projection_{};
  std::vector<Scratch> buffers_;
};

template <class T>
void forward_as(const PairAttention& p, const Threads& threads) {
  const PairKernels& k = kernels(p.double_precision);
  const Problem problem = common(p);
  const PackedWeights<T> weights(p, k, false);
  const std::vector<Chunk> chunks = split(p);
  std::vector<int64_t> cost;
  for (const Chunk& c : chunks) cost.push_back(c.rows * p.batch.lengths[c.molecule]);
  run_tasks(threads, by_cost(cost), [&] {
    return [&, plan = Plan(p, true), scratch = Scratch()](int64_t task) mutable {
      const Item& item = plan.build(chunks[task]);
      const ItemTable table = item_table(p, plan.table_rows());
      const ItemBias bias{plan.gather_bias(), nullptr};
      if (p.a.data) {
        const DenseRows rows = dense_rows(p);
        k.dense_forward(problem, item, bias, rows, scratch.reserve(k.dense_scratch(problem, item, rows, false)));
      } else if (p.weight_a.data) {
        const Projection& x = weights.projection();
        k.projected_forward(problem, item, bias, x, table,
                            scratch.reserve(k.projected_scratch(problem, item, x, table, false)));
      } else {
        k.table_forward(problem, item, bias, table, scratch.reserve(k.table_scratch(problem, item, table, false)));
      }
    };
  });
}

// Runs the chunks of a group one after the other, adding their parts of shared gradients to the group's partial.
template <class T>
class GroupWorker {
 public:
  GroupWorker(const PairAttention& p, const Projection& projection, const TokenPartials<T>& tokens)
      : p_(p),
        k_(kernels(p.double_precision)),
        problem_(common(p)),
        projection_(projection),
        tokens_(tokens),
        plan_(p, true),
        number_(p.index.data ? p.table_rows : 0) {}

  void run(const std::vector<Chunk>& chunks, int64_t begin, int64_t end, SharedPartial<T>& partial) {
    number_.start();
    Projection projection = projection_;
    projection.grad_weight_a = zeros(p_.grad_weight_a, partial.weight_a);
    projection.grad_weight_b = p_.weight_b.data ? zeros(p_.grad_weight_b, partial.weight_b) : projection.grad_weight_a;
    projection.grad_v1 = zeros(p_.grad_v1, partial.v1);
    for (int64_t c = begin; c < end; ++c) {
      const Item& item = plan_.build(chunks[c]);
      const ItemTable table = table_of_item(partial);
      ItemBias bias{plan_.gather_bias(), nullptr};
      if (p_.grad_bias.data) {
        grad_bias_.resize(item.rows * p_.heads * item.stride);
        bias.grad = grad_bias_.data();
      }
      const ItemGrad grad = tokens_.target(c);
      if (p_.a.data) {
        const DenseRows rows = dense_rows(p_);
        k_.dense_backward(problem_, item, bias, rows, grad,
                          scratch_.reserve(k_.dense_scratch(problem_, item, rows, true)));
      } else if (p_.weight_a.data) {
        k_.projected_backward(problem_, item, bias, projection, table, grad,
                              scratch_.reserve(k_.projected_scratch(problem_, item, projection, table, true)));
      } else {
        k_.table_backward(problem_, item, bias, table, grad,
                          scratch_.reserve(k_.table_scratch(problem_, item, table, true)));
      }
      if (bias.grad) plan_.scatter_bias(bias.grad);
    }
    partial.rows = number_.values();
  }

 private:
  static T* zeros(const Rows& wanted, std::vector<T>& buffer) {
    if (!wanted.data) return nullptr;
    buffer.assign(wanted.rows * wanted.columns, T(0));
    return buffer.data();
  }

  // Gives the rows of the item a place in the group's partial.
  ItemTable table_of_item(SharedPartial<T>& partial) {
    ItemTable table = item_table(p_, plan_.table_rows());
    if (!p_.index.data) return table;
    grad_row_.clear();
    for (int64_t row : plan_.table_rows()) grad_row_.push_back(number_(row));
    const size_t size = number_.values().size() * problem_.channels;
    table.grad_row = grad_row_.data();
    if (p_.grad_table_a.data) {
      partial.table_a.resize(size);
      table.grad_a = partial.table_a.data();
    }
    if (p_.grad_table_b.data) {
      partial.table_b.resize(size);
      table.grad_b = partial.table_b.data();
    }
    if (!p_.table_b.data) table.grad_b = table.grad_a;
    return table;
  }

  const PairAttention& p_;
  const PairKernels& k_;
  const Problem problem_;
  const Projection& projection_;
  const TokenPartials<T>& tokens_;
  Plan plan_;
  Scratch scratch_;
  Numbering number_;
  std::vector<T> grad_bias_;
  std::vector<int64_t> grad_row_;
};

template <class T>
void backward_as(const PairAttention& p, const Threads& threads) {
  const PackedWeights<T> weights(p, kernels(p.double_precision), true);
  const std::vector<Chunk> chunks = split(p);
  const bool shared =
      p.grad_table_a.data || p.grad_table_b.data || p.grad_weight_a.data || p.grad_weight_b.data || p.grad_v1.data;
  const std::vector<int64_t> groups = shared ? group(p.batch, chunks, p.weight_a.data ? kProjectedGroup : kTableGroup)
                                             : in_order(static_cast<int64_t>(chunks.size()) + 1);
  const TokenPartials<T> tokens(p, chunks);
  std::vector<SharedPartial<T>> partials(groups.size() - 1);
  std::vector<int64_t> cost;
  for (size_t g = 0; g + 1 < groups.size(); ++g) {
    cost.push_back(0);
    for (int64_t c = groups[g]; c < groups[g + 1]; ++c) cost[g] += chunks[c].rows * p.batch.lengths[chunks[c].molecule];
  }
  run_tasks(threads, by_cost(cost), [&] {
    return [&, worker = GroupWorker<T>(p, weights.projection(), tokens)](int64_t g) mutable {
      worker.run(chunks, groups[g], groups[g + 1], partials[g]);
    };
  });
  tokens.reduce(threads);
  add_tables(partials, &SharedPartial<T>::table_a, p.grad_table_a, threads);
  add_tables(partials, &SharedPartial<T>::table_b, p.grad_table_b, threads);
  add_matrices<T>(partials, &SharedPartial<T>::weight_a, p.grad_weight_a, threads);
  add_matrices<T>(partials, &SharedPartial<T>::weight_b, p.grad_weight_b, threads);
  add_matrices<T>(partials, &SharedPartial<T>::v1, p.grad_v1, threads);
}

}  // namespace

void forward(const PairAttention& p, const Threads& threads) {
  p.double_precision ? forward_as<double>(p, threads) : forward_as<float>(p, threads);
}

void backward(const PairAttention& p, const Threads& threads) {
  p.double_precision ? backward_as<double>(p, threads) : backward_as<float>(p, threads);
}

}  // namespace ditkernels
