// TablePair on the CPU: a_ij and b_ij are rows of small tables. Included by the kernel files only.
//
//   logit_ij = scale * sum_c q_ic k_jc a_{s(ij),c}        out_ic = sum_j p_ij v_jc b_{s(ij),c}
//
// The senders of a receiver that share a table row s form a run, and the row leaves the sum over the run:
//   logit_ij = sum_c (scale q_ic a_sc) k_jc               out_ic = sum_s b_sc (sum_{j in s} p_ij v_jc)
// and with G_s = sum_{j in s} ds_ij k_j, V_s = sum_{j in s} p_ij v_j (ds = gradient of the logit, g = gradient of out)
//   dq = scale sum_s a_s G_s,  da_s += scale q G_s,  db_s += g V_s,  dk_j += ds_ij (scale q a_s),  dv_j += p_ij (g b_s)
// so a pair costs what it costs in plain attention. One head at a time: its keys, values and table rows are packed to
// (., D) and stay in L1 for all receivers of the item.
#pragma once

#include "../micro.h"
#include "plan.h"

namespace {

// Scratch of one item; sizes in elements, D = head width, S = slots of a receiver (padded).
template <class T>
struct TableScratch {
  T *key, *value;                  // (size, D) packed
  T *table_a, *table_b;            // (table rows, D) packed
  T *query_a, *grad_b;             // (runs, D): scale * q * a_s, and g * b_s
  T *logit, *grad_logit;           // (S)
  T *grad_key, *grad_value;        // (size, D)
  T *grad_table_a, *grad_table_b;  // (table rows, D)
};

// Lays the scratch out from `base`; with base == nullptr only counts. Returns bytes.
template <class T>
int64_t lay_out(TableScratch<T>& s, char* base, const Problem& problem, const Item& item, const ItemTable& table,
                bool backward) {
  Carver carver(base);
  const int64_t D = problem.dim, S = item.stride;
  s = {};
  s.key = carver.take<T>(item.size * D);
  s.value = carver.take<T>(item.size * D);
  s.table_a = carver.take<T>(table.rows * D);
  s.table_b = table.table_b == table.table_a ? s.table_a : carver.take<T>(table.rows * D);
  s.query_a = carver.take<T>(S * D);
  s.logit = carver.take<T>(S);
  if (backward) {
    s.grad_b = carver.take<T>(S * D);
    s.grad_logit = carver.take<T>(S);
    s.grad_key = carver.take<T>(item.size * D);
    s.grad_value = carver.take<T>(item.size * D);
    if (table.grad_a) s.grad_table_a = carver.take<T>(table.rows * D);
    s.grad_table_b = table.grad_b == table.grad_a ? s.grad_table_a
                     : table.grad_b               ? carver.take<T>(table.rows * D)
                                                  : nullptr;
  }
  return carver.used();
}

// Packs head `h` of the molecule's keys and values and of the item's table rows.
template <class T, int W, int NV>
void pack_head(const TableScratch<T>& s, const Problem& problem, const Item& item, const ItemTable& table, int64_t h) {
  const int64_t D = problem.dim, C = problem.channels;
  for (int64_t j = 0; j < item.size; ++j) {
    const int64_t from = (item.token + j) * C + h * D;
    copy_head<T, W, NV>(s.key + j * D, static_cast<const T*>(problem.key) + from, D);
    copy_head<T, W, NV>(s.value + j * D, static_cast<const T*>(problem.value) + from, D);
  }
  for (int64_t r = 0; r < table.rows; ++r) {
    const int64_t from = table.row[r] * C + h * D;
    copy_head<T, W, NV>(s.table_a + r * D, static_cast<const T*>(table.table_a) + from, D);
    if (s.table_b != s.table_a) copy_head<T, W, NV>(s.table_b + r * D, static_cast<const T*>(table.table_b) + from, D);
  }
}

// The runs of one receiver (see plan.h).
struct Runs {
  int64_t count;
  const int32_t *start, *table, *sender, *of_slot;
};

inline Runs runs_of(const Item& item, int64_t r) {
  return {item.num_runs[r], item.run_start + r * (item.stride + 1), item.run_table + r * item.stride,
          item.sender + r * item.stride, item.run + r * item.stride};
}

// rows[s] = factor * left * table[row of run s], for every run.
template <class T, int W, int NV>
DITKERNELS_LOOP void scale_runs(Runs runs, int64_t D, T factor, const T* left, const T* table, T* rows) {
  using B = Block<T, W, NV>;
  for (int64_t at = 0; at < D; at += B::kSize) {
    const B l = B::load(left + at) * factor;
    for (int64_t s = 0; s < runs.count; ++s) (l * B::load(table + runs.table[s] * D + at)).store(rows + s * D + at);
  }
}

// out = factor * sum_runs table_s * sum_{e in run} p[e] * value[sender[e]].
template <class T, int W, int NV>
DITKERNELS_LOOP void run_values(Runs runs, int64_t D, const T* p, const T* value, const T* table, T factor, T* out) {
  using B = Block<T, W, NV>;
  for (int64_t at = 0; at < D; at += B::kSize) {
    B sum = B::zero();
    for (int64_t s = 0; s < runs.count; ++s) {
      B part = B::zero();
      for (int64_t e = runs.start[s], end = runs.start[s + 1]; e < end; ++e)
        part = part + B::load(value + runs.sender[e] * D + at) * p[e];
      sum = sum + part * B::load(table + runs.table[s] * D + at);
    }
    (sum * factor).store(out + at);
  }
}

// One side of the backward of a receiver, for both sides: with weights w (ds or p), rows x_j (k or v) and the scaled
// run rows z_s (scale q a_s or g b_s):
//   grad_x_j += w_e z_s,   G_s = sum_e w_e x_j,   grad_table_s += factor left G_s,   sum = factor sum_s table_s G_s.
template <class T, int W, int NV, bool kSum, bool kTable>
DITKERNELS_LOOP void run_gradients(Runs runs, int64_t D, const T* w, const T* x, const T* z, T factor, const T* left,
                                   const T* table, T* grad_x, T* grad_table, T* sum_out) {
  using B = Block<T, W, NV>;
  for (int64_t at = 0; at < D; at += B::kSize) {
    B sum = B::zero();
    for (int64_t s = 0; s < runs.count; ++s) {
      const B zs = B::load(z + s * D + at);
      B g = B::zero();
      for (int64_t e = runs.start[s], end = runs.start[s + 1]; e < end; ++e) {
        const int64_t row = runs.sender[e] * D + at;
        g = g + B::load(x + row) * w[e];
        (B::load(grad_x + row) + zs * w[e]).store(grad_x + row);
      }
      const int64_t row = runs.table[s] * D + at;
      if (kSum) sum = sum + g * B::load(table + row);
      if (kTable) (B::load(grad_table + row) + g * (B::load(left + at) * factor)).store(grad_table + row);
    }
    if (kSum) (sum * factor).store(sum_out + at);
  }
}

template <class T, int W, int NV>
void table_forward_heads(const TableScratch<T>& s, const Problem& problem, const Item& item, const ItemBias& bias,
                         const ItemTable& table) {
  const int64_t D = problem.dim, C = problem.channels, H = problem.heads;
  for (int64_t h = 0; h < H; ++h) {
    pack_head<T, W, NV>(s, problem, item, table, h);
    for (int64_t r = 0; r < item.rows; ++r) {
      const int64_t token = item.token + item.first + r;
      const int64_t count = item.count[r], padded = (count + kSlotPadding - 1) / kSlotPadding * kSlotPadding;
      const Runs runs = runs_of(item, r);
      T* out = static_cast<T*>(problem.out) + token * C + h * D;
      T* lse = static_cast<T*>(problem.lse) + token * H + h;
      Softmax<T> softmax{-INFINITY, 0};
      if (count > 0) {
        scale_runs<T, W, NV>(runs, D, static_cast<T>(problem.scale),
                             static_cast<const T*>(problem.query) + token * C + h * D, s.table_a, s.query_a);
        dot_rows<T, W, NV>(padded, D, s.query_a, runs.of_slot, s.key, runs.sender, s.logit);
        if (bias.bias) {
          const T* row = static_cast<const T*>(bias.bias) + (r * H + h) * item.stride;
          for (int64_t e = 0; e < padded; ++e) s.logit[e] += row[e];
        }
        softmax = softmax_row<T>(count, padded, T(-INFINITY), s.logit);
      }
      if (softmax.max == -INFINITY) {
        zero(out, D);
        *lse = -INFINITY;
        continue;
      }
      *lse = softmax.max + std::log(softmax.sum);
      run_values<T, W, NV>(runs, D, s.logit, s.value, s.table_b, T(1) / softmax.sum, out);
    }
  }
}

template <class T, int W, int NV>
void table_backward_heads(const TableScratch<T>& s, const Problem& problem, const Item& item, const ItemBias& bias,
                          const ItemTable& table, const ItemGrad& grad) {
  const int64_t D = problem.dim, C = problem.channels, H = problem.heads;
  const T scale = static_cast<T>(problem.scale);
  for (int64_t h = 0; h < H; ++h) {
    pack_head<T, W, NV>(s, problem, item, table, h);
    zero(s.grad_key, item.size * D);
    zero(s.grad_value, item.size * D);
    if (s.grad_table_a) zero(s.grad_table_a, table.rows * D);
    if (s.grad_table_b && s.grad_table_b != s.grad_table_a) zero(s.grad_table_b, table.rows * D);
    for (int64_t r = 0; r < item.rows; ++r) {
      const int64_t token = item.token + item.first + r, at = token * C + h * D;
      const int64_t count = item.count[r], padded = (count + kSlotPadding - 1) / kSlotPadding * kSlotPadding;
      const Runs runs = runs_of(item, r);
      const T* query = static_cast<const T*>(problem.query) + at;
      const T* out = static_cast<const T*>(problem.out) + at;
      const T* grad_out = static_cast<const T*>(problem.grad_out) + at;
      T* grad_query = static_cast<T*>(problem.grad_query) + at;
      const T lse = static_cast<const T*>(problem.lse)[token * H + h];
      T* grad_bias = bias.grad ? static_cast<T*>(bias.grad) + (r * H + h) * item.stride : nullptr;
      if (lse == -INFINITY) {
        zero(grad_query, D);
        if (grad_bias) zero(grad_bias, padded);
        continue;
      }
      scale_runs<T, W, NV>(runs, D, scale, query, s.table_a, s.query_a);
      scale_runs<T, W, NV>(runs, D, T(1), grad_out, s.table_b, s.grad_b);
      dot_rows<T, W, NV>(padded, D, s.query_a, runs.of_slot, s.key, runs.sender, s.logit);
      dot_rows<T, W, NV>(padded, D, s.grad_b, runs.of_slot, s.value, runs.sender, s.grad_logit);
      if (bias.bias) {
        const T* row = static_cast<const T*>(bias.bias) + (r * H + h) * item.stride;
        for (int64_t e = 0; e < padded; ++e) s.logit[e] += row[e];
      }
      T delta = 0;
      for (int64_t d = 0; d < D; ++d) delta += out[d] * grad_out[d];
      softmax_gradient<T>(count, padded, lse, delta, s.logit, s.grad_logit);
      if (grad_bias) copy_row(grad_bias, s.grad_logit, padded);
      const auto logit_side =
          s.grad_table_a ? run_gradients<T, W, NV, true, true> : run_gradients<T, W, NV, true, false>;
      const auto value_side =
          s.grad_table_b ? run_gradients<T, W, NV, false, true> : run_gradients<T, W, NV, false, false>;
      logit_side(runs, D, s.grad_logit, s.key, s.query_a, scale, query, s.table_a, s.grad_key, s.grad_table_a,
                 grad_query);
      value_side(runs, D, s.logit, s.value, s.grad_b, T(1), grad_out, s.table_b, s.grad_value, s.grad_table_b, nullptr);
    }
    for (int64_t j = 0; j < item.size; ++j) {
      copy_head<T, W, NV>(static_cast<T*>(grad.key) + j * C + h * D, s.grad_key + j * D, D);
      copy_head<T, W, NV>(static_cast<T*>(grad.value) + j * C + h * D, s.grad_value + j * D, D);
    }
    for (int64_t r = 0; r < table.rows; ++r) {
      const int64_t to = table.grad_row ? table.grad_row[r] * C + h * D : 0;
      if (s.grad_table_a) add_head<T, W, NV>(static_cast<T*>(table.grad_a) + to, s.grad_table_a + r * D, D);
      if (s.grad_table_b && s.grad_table_b != s.grad_table_a) {
        add_head<T, W, NV>(static_cast<T*>(table.grad_b) + to, s.grad_table_b + r * D, D);
      }
    }
  }
}

}  // namespace
