// so3_attention with radial weights as tensors (pairs, irreps, C) and (pairs, degrees, C): one receiver after the
// other, all of its senders as one list. Included by the kernel files only.
//
// From memory each pair moves (irreps + degrees) C elements in the forward; the backward reads the same and writes as
// much. All of them are touched row by row, in the order of memory: a and da by loops over senders with the heads
// inside, g and dg by copies to and from blocks of channels, since the same columns of rows of a power of 2 would meet
// in few sets of the cache. Half precision is widened receiver by receiver.
#pragma once

#include "../convert_rows.h"
#include "geometry.h"
#include "logits.h"
#include "values.h"

namespace {

template <class T>
struct So3DenseScratch {
  So3Tokens<T> tokens;
  // Of one receiver; `stride` slots.
  double* vector;           // (stride, 4): direction, distance
  T* harmonics;             // (stride, filters)
  T* weighted;              // (stride, W): p g of a channel block
  T* wide;                  // (H, stride + W, W): sums over the channels of a head, lane by lane
  T *p, *ds;                // (H, stride)
  T *product, *z;           // (filters, values, W): S, and its gradient
  T *g, *grad_g;            // (C / W, stride + 1, degrees, W)
  T* wide_y;                // (stride, kMaxFilters, W): dY, lane by lane
  int32_t* identity;        // (stride)
  // In half precision: rows of a, all irreps and heads, and their gradients; one row of g or of its gradient.
  T *a, *grad_a, *row;
};

template <class T, int W>
int64_t lay_out(So3DenseScratch<T>& s, char* base, const Problem& problem, const Item& item, const So3Shape& shape,
                const So3Rows& rows, bool backward) {
  Carver carver(base);
  const int64_t C = problem.channels, H = problem.heads, n = item.stride, product = shape.filters * shape.values * W;
  const bool widened = rows.type != own_type<T>();
  s = {};
  lay_out(s.tokens, carver, problem, item, shape, backward);
  s.vector = carver.take<double>(n * 4);
  s.harmonics = carver.take<T>(shape.filters * n);
  s.weighted = carver.take<T>(n * W);
  s.wide = carver.take<T>(H * (n + W) * W);
  s.p = carver.take<T>(H * n);
  s.product = carver.take<T>(product);
  s.g = carver.take<T>((n + 1) * shape.degrees * C);
  s.identity = carver.take<int32_t>(n);
  if (widened) {
    s.a = carver.take<T>(n * shape.irreps * C);
    s.row = carver.take<T>(shape.degrees * C);
  }
  if (!backward) return carver.used();
  s.ds = carver.take<T>(H * n);
  s.z = carver.take<T>(product);
  s.grad_g = carver.take<T>((n + 1) * shape.degrees * C);
  s.wide_y = carver.take<T>(n * kMaxFilters * W);
  if (widened) s.grad_a = carver.take<T>(n * shape.irreps * C);
  return carver.used();
}

// One receiver: what it is, its senders with the rows of a and of g, and a and its gradient.
template <class T>
struct DenseReceiver {
  int64_t number, token, count, padded, pair;
  Senders with_a, with_g;
  Radial<T> a, grad_a;
};

// The rows of g of a receiver's senders in blocks of channels, or back: copies row e of (degrees, C).
template <class T, int W, bool kBack>
void copy_g(const Problem& problem, const Item& item, const So3Shape& shape, int64_t e, T* blocks, T* row) {
  const int64_t C = problem.channels, J = shape.degrees, step = (item.stride + 1) * J * W;
  for (int64_t j = 0; j < J; ++j) {
    T* block = blocks + (e * J + j) * W;
    for (int64_t c = 0; c < C; c += W, row += W, block += step) {
      kBack ? store<T, W>(row, load<T, W>(block)) : store<T, W>(block, load<T, W>(row));
      __builtin_prefetch(row + kRowsAhead * J * C, kBack);
    }
  }
}

// g of one channel block, or its gradient.
template <class T, int W>
Radial<T> block_g(T* g, const Item& item, const So3Shape& shape, int64_t channel) {
  return {g ? g + channel * (item.stride + 1) * shape.degrees : nullptr, shape.degrees * W, W};
}

template <class T, int W>
DenseReceiver<T> dense_receiver(const So3DenseScratch<T>& s, const Problem& problem, const Item& item,
                                const So3Shape& shape, const So3Rows& rows, int64_t r) {
  const int64_t C = problem.channels, a = shape.irreps * C, g = shape.degrees * C, n = item.count[r];
  const int64_t pair = item.pair_row + r * item.pair_step;
  const int32_t* sender = item.sender + r * item.stride;
  DenseReceiver<T> x{r, item.token + item.first + r, n, padded_count(n), pair, {n, sender, sender},
                     {n, sender, s.identity}, {}, {}};
  if (s.a) {
    for (int64_t e = 0; e < n; ++e) read_row(s.a + e * a, rows.a, rows.type, pair + sender[e], a);
    x.with_a.row = s.identity;
    x.a = {s.a, a, C};
    x.grad_a = {rows.grad_a ? s.grad_a : nullptr, a, C};
  } else {
    const auto at = [&](const void* base) {
      return base ? static_cast<T*>(const_cast<void*>(base)) + pair * a : nullptr;
    };
    x.a = {at(rows.a), a, C};
    x.grad_a = {at(rows.grad_a), a, C};
  }
  for (int64_t e = 0; e < n; ++e) {
    T* row = s.row;
    row ? read_row(row, rows.g, rows.type, pair + sender[e], g)
        : void(row = static_cast<T*>(const_cast<void*>(rows.g)) + (pair + sender[e]) * g);
    copy_g<T, W, false>(problem, item, shape, e, s.g, row);
  }
  const T *positions = static_cast<const T*>(shape.positions) + item.token * 3, *own = positions + (item.first + r) * 3;
  for (int64_t e = 0; e < n; ++e) {
    direction(own, positions + sender[e] * 3, s.vector + e * 4);
    harmonics_of(s.vector + e * 4, shape.filters, s.harmonics + e * shape.filters, 1);
  }
  return x;
}

// Logits of all heads of a receiver, the bias included, to s.p.
template <class T, int W>
void dense_logits(const So3DenseScratch<T>& s, const Problem& problem, const Item& item, const ItemBias& bias,
                  const So3Shape& shape, const DenseReceiver<T>& x) {
  const int64_t D = problem.dim, H = problem.heads, stride = item.stride, size = shape.qk * D;
  wide_logits<T, W, true>(shape, H, D, s.tokens.query + x.number * size, item.rows * size, s.tokens.key,
                          item.size * size, x.with_a, x.a, s.wide, (stride + W) * W);
  for (int64_t h = 0; h < H; ++h) {
    sum_rows<T, W>(x.count, s.wide + h * (stride + W) * W, s.p + h * stride);
    if (bias.bias)
      add_row(s.p + h * stride, static_cast<const T*>(bias.bias) + (x.number * H + h) * stride, x.count);
  }
}

template <class T, int W>
void so3_dense_forward_item(const So3DenseScratch<T>& s, const Problem& problem, const Item& item,
                            const ItemBias& bias, const So3Shape& shape, const So3Rows& rows) {
  const int64_t C = problem.channels, D = problem.dim, H = problem.heads, stride = item.stride;
  pack_tokens<T, W>(s.tokens, problem, item, shape);
  for (int64_t e = 0; e < stride; ++e) s.identity[e] = static_cast<int32_t>(e);
  for (int64_t r = 0; r < item.rows; ++r) {
    const DenseReceiver<T> x = dense_receiver<T, W>(s, problem, item, shape, rows, r);
    T *out = static_cast<T*>(problem.out) + x.token * shape.outputs * C,
      *lse = static_cast<T*>(problem.lse) + x.token * H;
    zero(out, shape.outputs * C);
    dense_logits<T, W>(s, problem, item, bias, shape, x);
    for (int64_t h = 0; h < H; ++h) {
      if (!normalize(x.count, x.padded, s.p + h * stride, lse + h)) continue;
      for (int64_t channel = h * D; channel < (h + 1) * D; channel += W) {
        products<T, W>(shape, s.tokens.value + channel * item.size * shape.values, x.with_g, s.harmonics,
                       s.p + h * stride, block_g<T, W>(s.g, item, shape, channel), s.weighted, s.product);
        add_couplings<T, W>(shape, C, s.tokens.coupling + channel * shape.couplings, s.product, T(0), out + channel);
      }
    }
  }
}

// Writes the gradients of a and g that were kept in scratch, and zeros for pairs that are not allowed.
template <class T, int W>
void store_rows(const So3DenseScratch<T>& s, const Problem& problem, const Item& item, const So3Shape& shape,
                const So3Rows& rows, const DenseReceiver<T>& x) {
  const int64_t a = shape.irreps * problem.channels, g = shape.degrees * problem.channels;
  for (int64_t j = 0, e = 0; j < item.size; ++j) {
    const int64_t pair = x.pair + j;
    if (e == x.count || x.with_a.sender[e] != j) {
      if (rows.grad_a) zero_row(rows.grad_a, rows.type, pair, a);
      if (rows.grad_g) zero_row(rows.grad_g, rows.type, pair, g);
      continue;
    }
    if (s.a && rows.grad_a) write_row(rows.grad_a, rows.type, pair, a, s.grad_a + e * a);
    if (rows.grad_g) {
      copy_g<T, W, true>(problem, item, shape, e, s.grad_g, s.row ? s.row : static_cast<T*>(rows.grad_g) + pair * g);
      if (s.row) write_row(rows.grad_g, rows.type, pair, g, s.row);
    }
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
      grad[x.with_a.sender[e] * 3 + i] += static_cast<T>(d[i]);
      own[i] -= static_cast<T>(d[i]);
    }
  }
}

template <class T, int W>
void so3_dense_backward_item(const So3DenseScratch<T>& s, const Problem& problem, const Item& item,
                             const ItemBias& bias, const So3Shape& shape, const So3Rows& rows, const So3Grad& grad) {
  const int64_t C = problem.channels, D = problem.dim, H = problem.heads, stride = item.stride, size = shape.qk * D;
  pack_tokens<T, W>(s.tokens, problem, item, shape);
  for (int64_t e = 0; e < stride; ++e) s.identity[e] = static_cast<int32_t>(e);
  if (grad.positions) zero(static_cast<T*>(grad.positions), item.size * 3);
  for (int64_t r = 0; r < item.rows; ++r) {
    const DenseReceiver<T> x = dense_receiver<T, W>(s, problem, item, shape, rows, r);
    const T *out = static_cast<const T*>(problem.out) + x.token * shape.outputs * C,
            *grad_out = static_cast<const T*>(problem.grad_out) + x.token * shape.outputs * C,
            *lse = static_cast<const T*>(problem.lse) + x.token * H;
    T* wide_y = grad.positions ? s.wide_y : nullptr;
    T* grad_g = rows.grad_g ? s.grad_g : nullptr;
    if (wide_y) zero(wide_y, x.count * kMaxFilters * W);
    dense_logits<T, W>(s, problem, item, bias, shape, x);
    for (int64_t h = 0; h < H && x.count > 0; ++h) {
      T *p = s.p + h * stride, *ds = s.ds + h * stride;
      normalized(x.count, x.padded, lse[h], p);
      T delta = 0;
      for (int64_t m = 0; m < shape.outputs; ++m) delta += dot(D, out + m * C + h * D, grad_out + m * C + h * D);
      for (int64_t channel = h * D; channel < (h + 1) * D; channel += W) {
        const int64_t at = channel * item.size * shape.values;
        const Radial<T> g = block_g<T, W>(s.g, item, shape, channel);
        double* grad_weight = grad.path_weight ? grad.path_weight + channel : nullptr;
        if (grad_weight) products<T, W>(shape, s.tokens.value + at, x.with_g, s.harmonics, p, g, s.weighted, s.product);
        coupling_gradients<T, W>(shape, s.tokens, C, static_cast<const T*>(shape.path_weight) + channel,
                                 grad_out + channel, s.product, s.z, grad_weight);
        value_gradients<T, W, false>(shape, s.z, s.harmonics, p, s.tokens.value + at, s.tokens.grad_value + at,
                                     x.with_g, g, block_g<T, W>(grad_g, item, shape, channel), channel == h * D,
                                     s.wide, wide_y);
      }
      sum_rows<T, W>(x.count, s.wide, ds);
      for (int64_t e = 0; e < x.count; ++e) ds[e] = p[e] * (ds[e] - delta);
      if (bias.grad) copy_row(static_cast<T*>(bias.grad) + (r * H + h) * stride, ds, x.count);
    }
    logit_gradients<T, W, false>(shape, H, D, s.ds, stride, s.tokens.query + r * size, s.tokens.grad_query + r * size,
                                 item.rows * size, s.tokens.key, s.tokens.grad_key, item.size * size, x.with_a, x.a,
                                 x.grad_a);
    if (grad.positions) dense_positions<T, W>(s, item, shape, x, static_cast<T*>(grad.positions));
    if (rows.grad_a || rows.grad_g) store_rows<T, W>(s, problem, item, shape, rows, x);
  }
  unpack_gradients<T, W>(s.tokens, problem, item, shape, grad);
}

}  // namespace
