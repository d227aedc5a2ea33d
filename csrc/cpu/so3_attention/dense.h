// so3_attention with radial weights as tensors (pairs, irreps, C) and (pairs, degrees, C): one receiver after the
// other, all of its senders as one list. Included by the kernel files only.
//
// From memory each pair moves (irreps + degrees) C elements in the forward; the backward reads the same and writes as
// much. Half precision is widened receiver by receiver.
#pragma once

#include "../convert_rows.h"
#include "geometry.h"
#include "heads.h"

namespace {

template <class T>
struct So3DenseScratch {
  T *key, *value, *grad_key, *grad_value;  // (C / W, size, M, W)
  // Of one receiver; `stride` slots.
  double* vector;           // (stride, 4): direction, distance
  T *harmonics, *weighted;  // (filters, stride): Y, p Y
  T* wide;                  // (stride + W, W): sums over the channels of a head, lane by lane
  T *p, *dp;                // (stride)
  T *product, *z;           // (filters, values, W): S, and its gradient
  T* wide_y;                // (stride, kMaxFilters, W): dY, lane by lane
  int32_t* identity;        // (stride)
  // In half precision: the rows of all heads, and their gradients.
  T *a, *g, *grad_a, *grad_g;
};

template <class T, int W>
int64_t lay_out(So3DenseScratch<T>& s, char* base, const Problem& problem, const Item& item, const So3Shape& shape,
                const So3Rows& rows, bool backward) {
  Carver carver(base);
  const int64_t C = problem.channels, n = item.stride, product = shape.filters * shape.values * W;
  const bool widened = rows.type != own_type<T>();
  s = {};
  s.key = carver.take<T>(item.size * shape.qk * C);
  s.value = carver.take<T>(item.size * shape.values * C);
  s.vector = carver.take<double>(n * 4);
  s.harmonics = carver.take<T>(shape.filters * n);
  s.weighted = carver.take<T>(shape.filters * n);
  s.wide = carver.take<T>((n + W) * W);
  s.p = carver.take<T>(n);
  s.product = carver.take<T>(product);
  if (widened) {
    s.identity = carver.take<int32_t>(n);
    s.a = carver.take<T>(n * shape.irreps * C);
    s.g = carver.take<T>(n * shape.degrees * C);
  }
  if (!backward) return carver.used();
  s.grad_key = carver.take<T>(item.size * shape.qk * C);
  s.grad_value = carver.take<T>(item.size * shape.values * C);
  s.dp = carver.take<T>(n);
  s.z = carver.take<T>(product);
  s.wide_y = carver.take<T>(n * kMaxFilters * W);
  if (widened) {
    s.grad_a = carver.take<T>(n * shape.irreps * C);
    s.grad_g = carver.take<T>(n * shape.degrees * C);
  }
  return carver.used();
}

// One receiver: what it is, its senders, and the rows of its radial weights (of all heads) and of their gradients.
template <class T>
struct DenseReceiver {
  int64_t number, token, count, padded, pair;
  Senders list;
  Radial<T> radial, grad;
};

template <class T>
DenseReceiver<T> dense_receiver(const So3DenseScratch<T>& s, const Problem& problem, const Item& item,
                                const So3Shape& shape, const So3Rows& rows, int64_t r) {
  const int64_t C = problem.channels, a = shape.irreps * C, g = shape.degrees * C, n = item.count[r];
  const int64_t pair = item.pair_row + r * item.pair_step;
  const int32_t* sender = item.sender + r * item.stride;
  DenseReceiver<T> x{r, item.token + item.first + r, n, padded_count(n), pair, {n, sender, sender}, {}, {}};
  if (s.a) {
    for (int64_t e = 0; e < n; ++e) {
      read_row(s.a + e * a, rows.a, rows.type, pair + sender[e], a);
      read_row(s.g + e * g, rows.g, rows.type, pair + sender[e], g);
    }
    x.list.row = s.identity;
    x.radial = {s.a, s.g, a, C, g, C};
    x.grad = {rows.grad_a ? s.grad_a : nullptr, rows.grad_g ? s.grad_g : nullptr, a, C, g, C};
  } else {
    const auto at = [&](const void* base, int64_t row) {
      return base ? static_cast<T*>(const_cast<void*>(base)) + pair * row : nullptr;
    };
    x.radial = {at(rows.a, a), at(rows.g, g), a, C, g, C};
    x.grad = {at(rows.grad_a, a), at(rows.grad_g, g), a, C, g, C};
  }
  const T *positions = static_cast<const T*>(shape.positions) + item.token * 3, *own = positions + (item.first + r) * 3;
  for (int64_t e = 0; e < n; ++e) {
    direction(own, positions + sender[e] * 3, s.vector + e * 4);
    harmonics_of(s.vector + e * 4, shape.filters, s.harmonics + e, item.stride);
  }
  return x;
}

// Asks for the rows of the next receiver, a part of them per head: rows of one head are pieces that no hardware
// prefetch follows.
template <class T>
void prefetch_next(const Problem& problem, const Item& item, const So3Shape& shape, const So3Rows& rows, int64_t r,
                   int64_t h) {
  if (r + 1 >= item.rows || item.count[r + 1] == 0) return;
  const int64_t element = rows.type == Type::Double ? 8 : rows.type == Type::Float ? 4 : 2;
  const int32_t* sender = item.sender + (r + 1) * item.stride;
  const int64_t n = item.count[r + 1], first = item.pair_row + (r + 1) * item.pair_step + sender[0];
  const int64_t pairs = sender[n - 1] - sender[0] + 1;
  const auto ask = [&](const void* base, int64_t columns) {
    const int64_t bytes = pairs * columns * element;
    const char* from = static_cast<const char*>(base) + first * columns * element;
    for (int64_t at = bytes * h / problem.heads / 64 * 64; at < bytes * (h + 1) / problem.heads; at += 64)
      __builtin_prefetch(from + at, 0, 2);
  };
  ask(rows.a, shape.irreps * problem.channels);
  ask(rows.g, shape.degrees * problem.channels);
}

template <class T>
Radial<T> of_head(const Radial<T>& x, int64_t offset) {
  return {x.a ? x.a + offset : nullptr, x.g ? x.g + offset : nullptr, x.a_row, x.a_step, x.g_row, x.g_step};
}

template <class T, int W>
void start_dense(const So3DenseScratch<T>& s, const Problem& problem, const Item& item, const So3Shape& shape) {
  const int64_t C = problem.channels;
  pack_components<T, W>(item.size * shape.qk, C, static_cast<const T*>(problem.key) + item.token * shape.qk * C, s.key);
  pack_components<T, W>(item.size * shape.values, C,
                        static_cast<const T*>(problem.value) + item.token * shape.values * C, s.value);
  for (int64_t e = 0; s.identity && e < item.stride; ++e) s.identity[e] = static_cast<int32_t>(e);
}

template <class T, int W>
void so3_dense_forward_item(const So3DenseScratch<T>& s, const Problem& problem, const Item& item,
                            const ItemBias& bias, const So3Shape& shape, const So3Rows& rows) {
  const int64_t C = problem.channels, D = problem.dim, H = problem.heads, stride = item.stride;
  start_dense<T, W>(s, problem, item, shape);
  for (int64_t r = 0; r < item.rows; ++r) {
    const DenseReceiver<T> x = dense_receiver(s, problem, item, shape, rows, r);
    const T* query = static_cast<const T*>(problem.query) + x.token * shape.qk * C;
    T *out = static_cast<T*>(problem.out) + x.token * shape.outputs * C,
      *lse = static_cast<T*>(problem.lse) + x.token * H;
    zero(out, shape.outputs * C);
    for (int64_t h = 0; h < H; ++h) {
      const Radial<T> radial = of_head(x.radial, h * D);
      prefetch_next<T>(problem, item, shape, rows, r, h);
      head_logits<T, W>(problem, shape, item.size, h, s.key, query, x.list, radial, s.wide, s.p);
      if (bias.bias) add_row(s.p, static_cast<const T*>(bias.bias) + (r * H + h) * stride, x.count);
      if (!normalize(x.count, x.padded, s.p, lse + h)) continue;
      weight_harmonics(x.count, stride, shape.filters, s.harmonics, s.p, s.weighted);
      for (int64_t b = 0; b < D / W; ++b) {
        const int64_t channel = h * D + b * W;
        products<T, W>(shape, s.value + channel * item.size * shape.values, x.list, s.weighted, stride, radial, b * W,
                       s.product);
        add_couplings<T, W>(shape, C, static_cast<const T*>(shape.path_weight) + channel, s.product, out + channel);
      }
    }
  }
}

// Writes the gradients of a and g that were kept in scratch, and zeros for pairs that are not allowed.
template <class T>
void store_rows(const So3DenseScratch<T>& s, const Item& item, const So3Rows& rows, const DenseReceiver<T>& x) {
  const int64_t a = x.grad.a_row, g = x.grad.g_row;
  for (int64_t j = 0, e = 0; j < item.size; ++j) {
    if (e == x.count || x.list.sender[e] != j) {
      if (rows.grad_a) zero_row(rows.grad_a, rows.type, x.pair + j, a);
      if (rows.grad_g) zero_row(rows.grad_g, rows.type, x.pair + j, g);
      continue;
    }
    if (s.a && rows.grad_a) write_row(rows.grad_a, rows.type, x.pair + j, a, s.grad_a + e * a);
    if (s.a && rows.grad_g) write_row(rows.grad_g, rows.type, x.pair + j, g, s.grad_g + e * g);
    ++e;
  }
}

// Adds to the gradients of the positions what the sums over the channels (wide_y) say.
template <class T, int W>
void dense_positions(const So3DenseScratch<T>& s, const Item& item, const So3Shape& shape, const DenseReceiver<T>& x,
                     T* grad) {
  T* own = grad + (item.first + x.number) * 3;
  for (int64_t e = 0; e < x.count; ++e) {
    double df[kMaxFilters], d[3];
    for (int64_t f = 1; f < shape.filters; ++f)
      df[f] = static_cast<double>(sum_lanes<T, W>(load<T, W>(s.wide_y + (e * kMaxFilters + f) * W)));
    if (!vector_gradient(s.vector + e * 4, shape.filters, df, 0, d)) continue;
    for (int i = 0; i < 3; ++i) {
      grad[x.list.sender[e] * 3 + i] += static_cast<T>(d[i]);
      own[i] -= static_cast<T>(d[i]);
    }
  }
}

template <class T, int W>
void so3_dense_backward_item(const So3DenseScratch<T>& s, const Problem& problem, const Item& item,
                             const ItemBias& bias, const So3Shape& shape, const So3Rows& rows, const So3Grad& grad) {
  const int64_t C = problem.channels, D = problem.dim, H = problem.heads, stride = item.stride;
  const T scale = static_cast<T>(problem.scale);
  start_dense<T, W>(s, problem, item, shape);
  zero(s.grad_key, item.size * shape.qk * C);
  zero(s.grad_value, item.size * shape.values * C);
  if (grad.positions) zero(static_cast<T*>(grad.positions), item.size * 3);
  for (int64_t r = 0; r < item.rows; ++r) {
    const DenseReceiver<T> x = dense_receiver(s, problem, item, shape, rows, r);
    const T *query = static_cast<const T*>(problem.query) + x.token * shape.qk * C,
            *out = static_cast<const T*>(problem.out) + x.token * shape.outputs * C,
            *grad_out = static_cast<const T*>(problem.grad_out) + x.token * shape.outputs * C,
            *lse = static_cast<const T*>(problem.lse) + x.token * H;
    T* grad_query = static_cast<T*>(problem.grad_query) + x.token * shape.qk * C;
    zero(grad_query, shape.qk * C);
    T* wide_y = grad.positions ? s.wide_y : nullptr;
    if (wide_y) zero(wide_y, x.count * kMaxFilters * W);
    for (int64_t h = 0; h < H && x.count > 0; ++h) {
      const Radial<T> radial = of_head(x.radial, h * D), to = of_head(x.grad, h * D);
      prefetch_next<T>(problem, item, shape, rows, r, h);
      head_logits<T, W>(problem, shape, item.size, h, s.key, query, x.list, radial, s.wide, s.p);
      if (bias.bias) add_row(s.p, static_cast<const T*>(bias.bias) + (r * H + h) * stride, x.count);
      normalized(x.count, x.padded, lse[h], s.p);
      T delta = 0;
      for (int64_t m = 0; m < shape.outputs; ++m) delta += dot(D, out + m * C + h * D, grad_out + m * C + h * D);
      weight_harmonics(x.count, stride, shape.filters, s.harmonics, s.p, s.weighted);
      for (int64_t b = 0; b < D / W; ++b) {
        const int64_t channel = h * D + b * W, at = channel * item.size * shape.values;
        double* grad_weight = grad.path_weight ? grad.path_weight + channel : nullptr;
        if (grad_weight)
          products<T, W>(shape, s.value + at, x.list, s.weighted, stride, radial, b * W, s.product);
        coupling_gradients<T, W>(shape, C, static_cast<const T*>(shape.path_weight) + channel, grad_out + channel,
                                 s.product, s.z, grad_weight);
        value_gradients<T, W, false>(shape, s.z, s.harmonics, s.weighted, stride, s.p, s.value + at, s.grad_value + at,
                                     x.list, radial, to, b * W, b == 0, s.wide, wide_y);
      }
      sum_rows<T, W>(x.count, s.wide, s.dp);
      for (int64_t e = 0; e < x.count; ++e) s.dp[e] = s.p[e] * (s.dp[e] - delta);
      if (bias.grad) copy_row(static_cast<T*>(bias.grad) + (r * H + h) * stride, s.dp, x.count);
      for (int64_t b = 0; b < D / W; ++b) {
        const int64_t channel = h * D + b * W, at = channel * item.size * shape.qk;
        logit_gradients<T, W, false>(shape, C, scale, s.dp, query + channel, s.key + at, s.grad_key + at, x.list,
                                     radial, to, b * W, grad_query + channel);
      }
    }
    if (grad.positions) dense_positions<T, W>(s, item, shape, x, static_cast<T*>(grad.positions));
    if (rows.grad_a || rows.grad_g) store_rows(s, item, rows, x);
  }
  unpack_components<T, W>(item.size * shape.qk, C, s.grad_key, static_cast<T*>(grad.key));
  unpack_components<T, W>(item.size * shape.values, C, s.grad_value, static_cast<T*>(grad.value));
}

}  // namespace
