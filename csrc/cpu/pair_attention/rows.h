// Attention of one receiver over modulation rows a_ij, b_ij given by pointers: the core of the dense and projected
// forms. Included by the kernel files only.
//
//   logit_e = scale * sum_c q_c k_c a_ec            out_c = sum_e p_e v_c b_ec              (e: slots, c: channels of a
//   head) dq += scale ds_e k a_e,  dk_e += scale ds_e q a_e,  da_e = scale ds_e q k,  dv_e += p_e g b_e,  db_e = p_e g
//   v
//
// A receiver's senders come in tiles; running maxima and sums (online softmax) join them, so that each row of a and b
// is read from memory once. Keys and values are packed head by head, (H, size, D).
#pragma once

#include "../micro.h"
#include "plan.h"

namespace {

// Most senders per tile: 32 rows of 256 floats fit the second-level cache beside keys and values.
constexpr int64_t kTile = 32;

// Keys and values of a molecule, (H, size, D), and the gradients gathered in the same layout (null in the forward).
template <class T>
struct Packed {
  int64_t heads, dim, size;
  T *key, *value, *grad_key, *grad_value;
};

// (size, C) rows starting at `from` -> (H, size, D), or back.
template <class T, int W, int NV>
void pack_heads(int64_t size, int64_t heads, int64_t dim, const T* from, T* to) {
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t j = 0; j < size; ++j)
      copy_head<T, W, NV>(to + (h * size + j) * dim, from + (j * heads + h) * dim, dim);
  }
}

template <class T, int W, int NV>
void unpack_heads(int64_t size, int64_t heads, int64_t dim, const T* from, T* to) {
  for (int64_t h = 0; h < heads; ++h) {
    for (int64_t j = 0; j < size; ++j)
      copy_head<T, W, NV>(to + (j * heads + h) * dim, from + (h * size + j) * dim, dim);
  }
}

template <class T, int W, int NV>
void pack_molecule(const Problem& problem, const Item& item, const Packed<T>& packed) {
  const int64_t from = item.token * problem.channels;
  pack_heads<T, W, NV>(item.size, problem.heads, problem.dim, static_cast<const T*>(problem.key) + from, packed.key);
  pack_heads<T, W, NV>(item.size, problem.heads, problem.dim, static_cast<const T*>(problem.value) + from,
                       packed.value);
}

// Memory that the next tile will read, fetched into the second-level cache while this one is worked on: heads are taken
// one after the other, which the hardware does not see as a stream.
struct Ahead {
  const char *a, *b;  // null if there is none
  int64_t bytes;      // of each
};

DITKERNELS_INLINE void fetch(const Ahead& ahead, int64_t head, int64_t heads) {
  const int64_t begin = ahead.bytes * head / heads, end = ahead.bytes * (head + 1) / heads;
  for (int64_t x = begin / 64 * 64; x < end; x += 64) {
    if (ahead.a) __builtin_prefetch(ahead.a + x, 0, 2);
    if (ahead.b) __builtin_prefetch(ahead.b + x, 0, 2);
  }
}

// A tile of senders of one receiver. Slots from count to the next multiple of kSlotPadding repeat valid rows.
template <class T>
struct Tile {
  int64_t count, padded;
  const int32_t* sender;
  const T *const *a, *const *b;  // modulation rows of C channels
  const T* bias;                 // (heads, bias_stride) at this tile's slots, or null
  int64_t bias_stride;
  // Backward; null if not wanted. grad_b == grad_a adds the second gradient to the first.
  T *const *grad_a, *const *grad_b;
  T* grad_bias;
  Ahead ahead;
};

// dot[e] = factor * sum_d q[d] x_e[d] m_e[d] over one head's D channels; x_e = x + sender[e] * D, m_e = m[e] + channel.
template <class T, int W, int NV>
DITKERNELS_LOOP void dot_modulated(int64_t padded, int64_t D, T factor, const T* q, const T* x, const int32_t* sender,
                                   const T* const* m, int64_t channel, T* dot) {
  using B = Block<T, W, NV>;
  const B first = B::load(q) * factor;
  for (int64_t e = 0; e < padded; e += W) {
    Vec<T, W> sum[W];
    unroll<W>([&](auto i) DITKERNELS_UNROLLED {
      const T *xi = x + sender[e + i] * D, *mi = m[e + i] + channel;
      sum[i] = (B::load(xi) * B::load(mi) * first).sum();
      for (int64_t d = B::kSize; d < D; d += B::kSize) {
        sum[i] += (B::load(xi + d) * B::load(mi + d) * (B::load(q + d) * factor)).sum();
      }
    });
    store<T, W>(dot + e, TransposeSum<T, W>::apply(sum));
  }
}

// out = keep * out + sum_e p[e] x_e m_e over one head's D channels.
template <class T, int W, int NV>
DITKERNELS_LOOP void add_values(int64_t count, int64_t D, const T* p, const T* x, const int32_t* sender,
                                const T* const* m, int64_t channel, T keep, T* out) {
  using B = Block<T, W, NV>;
  for (int64_t at = 0; at < D; at += B::kSize) {
    B sum = B::load(out + at) * keep;
    for (int64_t e = 0; e < count; ++e)
      sum = sum + B::load(x + sender[e] * D + at) * p[e] * B::load(m[e] + channel + at);
    sum.store(out + at);
  }
}

// Running softmax of a receiver: maxima and sums per head, unnormalised output of C channels.
template <class T>
struct Running {
  T *max, *sum, *out;
};

template <class T>
void start(const Running<T>& run, int64_t heads, int64_t channels) {
  for (int64_t h = 0; h < heads; ++h) {
    run.max[h] = -INFINITY;
    run.sum[h] = 0;
  }
  zero(run.out, channels);
}

// Adds a tile to the running softmax. `logit` holds kTile elements.
template <class T, int W, int NV>
void attend_tile(const Packed<T>& packed, const Tile<T>& tile, T scale, const T* query, const Running<T>& run,
                 T* logit) {
  const int64_t D = packed.dim;
  for (int64_t h = 0; h < packed.heads; ++h) {
    const int64_t channel = h * D;
    fetch(tile.ahead, h, packed.heads);
    dot_modulated<T, W, NV>(tile.padded, D, scale, query + channel, packed.key + channel * packed.size, tile.sender,
                            tile.a, channel, logit);
    if (tile.bias) add_row(logit, tile.bias + h * tile.bias_stride, tile.padded);
    const T before = run.max[h];
    const Softmax<T> part = softmax_row<T>(tile.count, tile.padded, before, logit);
    if (part.max == -INFINITY) continue;
    const T keep = before == -INFINITY ? T(0) : std::exp(before - part.max);
    run.max[h] = part.max;
    run.sum[h] = run.sum[h] * keep + part.sum;
    add_values<T, W, NV>(tile.count, D, logit, packed.value + channel * packed.size, tile.sender, tile.b, channel, keep,
                         run.out + channel);
  }
}

// Divides by the sums and writes out (C) and lse (heads).
template <class T>
void finish(const Running<T>& run, int64_t heads, int64_t dim, T* out, T* lse) {
  for (int64_t h = 0; h < heads; ++h) {
    const bool none = run.max[h] == -INFINITY;
    const T factor = none ? T(0) : T(1) / run.sum[h];
    lse[h] = none ? T(-INFINITY) : run.max[h] + std::log(run.sum[h]);
    for (int64_t d = 0; d < dim; ++d) out[h * dim + d] = run.out[h * dim + d] * factor;
  }
}

enum class Store { None, Write, Add };

// One side of the backward of a tile and head, for both sides: with weights w (ds or p), left vector l (scale q or g),
// rows x_e (k or v) and modulations m_e (a or b):
//   grad_x_e += w_e l m_e,   grad_m_e (+)= w_e l x_e,   sum += factor w_e x_e m_e   (l is `left` times `factor`).
template <class T, int W, int NV, bool kSum, Store kStore>
DITKERNELS_LOOP void tile_gradients(int64_t count, int64_t D, int64_t channel, const T* w, T factor, const T* left,
                                    const T* x, const int32_t* sender, const T* const* m, T* grad_x, T* const* grad_m,
                                    T* sum_out) {
  using B = Block<T, W, NV>;
  for (int64_t at = 0; at < D; at += B::kSize) {
    const B l = B::load(left + at) * factor;
    B sum = B::zero();
    for (int64_t e = 0; e < count; ++e) {
      const int64_t row = sender[e] * D + at;
      const B me = B::load(m[e] + channel + at), wl = l * w[e];
      if (kSum) sum = sum + B::load(x + row) * w[e] * me;
      if (kStore != Store::None) {
        T* to = grad_m[e] + channel + at;
        const B g = wl * B::load(x + row);
        (kStore == Store::Add ? B::load(to) + g : g).store(to);
      }
      (B::load(grad_x + row) + wl * me).store(grad_x + row);
    }
    if (kSum) (B::load(sum_out + at) + sum * factor).store(sum_out + at);
  }
}

// Rows of one receiver the backward needs: (C) each but lse and delta (heads). grad_query is added to.
template <class T>
struct Receiver {
  const T *query, *grad_out, *lse, *delta;
  T* grad_query;
};

// delta_h = sum over the head's channels of out * grad_out.
template <class T>
void row_delta(int64_t heads, int64_t dim, const T* out, const T* grad_out, T* delta) {
  for (int64_t h = 0; h < heads; ++h) {
    T sum = 0;
    for (int64_t d = h * dim; d < (h + 1) * dim; ++d) sum += out[d] * grad_out[d];
    delta[h] = sum;
  }
}

// Backward of a tile. `p` and `ds` hold kTile elements each.
template <class T, int W, int NV>
void attend_tile_backward(const Packed<T>& packed, const Tile<T>& tile, T scale, const Receiver<T>& receiver, T* p,
                          T* ds) {
  const int64_t D = packed.dim;
  for (int64_t h = 0; h < packed.heads; ++h) {
    const int64_t channel = h * D, rows = channel * packed.size;
    fetch(tile.ahead, h, packed.heads);
    if (receiver.lse[h] == -INFINITY) {
      for (int64_t e = 0; e < tile.count; ++e) {
        if (tile.grad_a) zero(tile.grad_a[e] + channel, D);
        if (tile.grad_b) zero(tile.grad_b[e] + channel, D);
      }
      if (tile.grad_bias) zero(tile.grad_bias + h * tile.bias_stride, tile.padded);
      continue;
    }
    const T *query = receiver.query + channel, *grad_out = receiver.grad_out + channel;
    dot_modulated<T, W, NV>(tile.padded, D, scale, query, packed.key + rows, tile.sender, tile.a, channel, p);
    dot_modulated<T, W, NV>(tile.padded, D, T(1), grad_out, packed.value + rows, tile.sender, tile.b, channel, ds);
    if (tile.bias) add_row(p, tile.bias + h * tile.bias_stride, tile.padded);
    softmax_gradient<T>(tile.count, tile.padded, receiver.lse[h], receiver.delta[h], p, ds);
    if (tile.grad_bias) copy_row(tile.grad_bias + h * tile.bias_stride, ds, tile.padded);
    const auto logit_side =
        tile.grad_a ? tile_gradients<T, W, NV, true, Store::Write> : tile_gradients<T, W, NV, true, Store::None>;
    const auto value_side = !tile.grad_b                 ? tile_gradients<T, W, NV, false, Store::None>
                            : tile.grad_b == tile.grad_a ? tile_gradients<T, W, NV, false, Store::Add>
                                                         : tile_gradients<T, W, NV, false, Store::Write>;
    logit_side(tile.count, D, channel, ds, scale, query, packed.key + rows, tile.sender, tile.a, packed.grad_key + rows,
               tile.grad_a, receiver.grad_query + channel);
    value_side(tile.count, D, channel, p, T(1), grad_out, packed.value + rows, tile.sender, tile.b,
               packed.grad_value + rows, tile.grad_b, nullptr);
  }
}

// Packs the molecule and clears what the backward adds to; the other way round at the end.
template <class T, int W, int NV>
void start_backward(const Packed<T>& packed, const Problem& problem, const Item& item, const ItemGrad& grad) {
  const int64_t C = problem.channels;
  pack_molecule<T, W, NV>(problem, item, packed);
  zero(packed.grad_key, item.size * C);
  zero(packed.grad_value, item.size * C);
  zero(static_cast<T*>(problem.grad_query) + (item.token + item.first) * C, item.rows * C);
  if (grad.positions) zero(static_cast<T*>(grad.positions), item.size * 3);
}

template <class T, int W, int NV>
void finish_backward(const Packed<T>& packed, const Problem& problem, const Item& item, const ItemGrad& grad) {
  unpack_heads<T, W, NV>(item.size, problem.heads, problem.dim, packed.grad_key, static_cast<T*>(grad.key));
  unpack_heads<T, W, NV>(item.size, problem.heads, problem.dim, packed.grad_value, static_cast<T*>(grad.value));
}

template <class T>
Receiver<T> receiver_of(const Problem& problem, int64_t token, const T* delta) {
  const int64_t at = token * problem.channels;
  return {static_cast<const T*>(problem.query) + at, static_cast<const T*>(problem.grad_out) + at,
          static_cast<const T*>(problem.lse) + token * problem.heads, delta, static_cast<T*>(problem.grad_query) + at};
}

}  // namespace
