// Dense layers over packed weights, and the gated MLP. Included by the kernel files only.
//
// A task has a few dozen atoms. One component of theirs at a time is copied into rows that lie together (in the tensors
// rows are a multiple of 4 KB apart, where they would fight for a few lines of L1), and meets the panels of the weight
// one after the other. Of an MLP the hidden layer never leaves the cache: that of one component is made, gated and
// multiplied down before the next.
#pragma once

#include <algorithm>

#include "../gemm.h"
#include "activation.h"
#include "atomwise.h"

namespace {

using ditkernels::Dense;
using ditkernels::GatedMlp;

// Elements between rows in scratch: whole vectors, and no power of 2.
template <class T>
constexpr int64_t pitch_of(int64_t columns) {
  constexpr int64_t kLine = 64 / sizeof(T);
  return (columns + kLine - 1) / kLine * kLine + kLine;
}

// Every how many steps of k the inner loop asks for a line of the panel after this one. At once it would wait for them:
// a panel comes from the last-level cache or from memory, and all of the first block's time goes by meanwhile.
constexpr int64_t kStride = 8;

// R rows of C and one panel, as gemm_block; `ahead` is what will be read soon.
template <class T, int R, bool kAdd>
DITKERNELS_LOOP void dense_block(int64_t K, const T* a, int64_t a_step, const T* panel, const char* ahead, T* c,
                                 int64_t c_step, int64_t columns) {
  constexpr int W = GemmShape<T>::W, P = GemmShape<T>::kPanel;
  Vec<T, W> sum[R][2];
  unroll<R>([&](auto r) DITKERNELS_UNROLLED { sum[r][0] = sum[r][1] = Vec<T, W>{}; });
  const auto step = [&](int64_t k) DITKERNELS_UNROLLED {
    const Vec<T, W> b0 = load<T, W>(panel + k * P), b1 = load<T, W>(panel + k * P + W);
    unroll<R>([&](auto r) DITKERNELS_UNROLLED {
      const Vec<T, W> x = splat<T, W>(a[r * a_step + k]);
      sum[r][0] += x * b0;
      sum[r][1] += x * b1;
    });
  };
  int64_t k = 0;
  for (; k + kStride <= K; k += kStride, ahead += 64) {
    __builtin_prefetch(ahead, 0, 2);
    for (int64_t i = k; i < k + kStride; ++i) step(i);
  }
  for (; k < K; ++k) step(k);
  unroll<R>([&](auto r) DITKERNELS_UNROLLED {
    T *row = c + r * c_step, part[P];
    T* to = columns == P ? row : part;
    if (kAdd) {
      for (int64_t i = 0; columns < P && i < columns; ++i) part[i] = row[i];
      sum[r][0] += load<T, W>(to);
      sum[r][1] += load<T, W>(to + W);
    }
    store<T, W>(to, sum[r][0]);
    store<T, W>(to + W, sum[r][1]);
    for (int64_t i = 0; columns < P && i < columns; ++i) row[i] = part[i];
  });
}

template <class T, int R, bool kAdd, class... Rest>
void dense_tail(int64_t rows, Rest... rest) {
  if constexpr (R > 0) {
    if (rows == R) return dense_block<T, R, kAdd>(rest...);
    dense_tail<T, R - 1, kAdd>(rows, rest...);
  }
}

// Columns [begin, end) of C (rows, outputs) = A (rows, inputs) B, or += ; begin starts a panel. `after`: what is read
// after the last panel.
template <class T, bool kAdd>
void multiply_rows(int64_t rows, int64_t inputs, const T* a, int64_t a_step, const T* packed, int64_t begin,
                   int64_t end, T* c, int64_t c_step, const T* after) {
  constexpr int P = GemmShape<T>::kPanel, R = GemmShape<T>::kRows;
  for (int64_t n = begin; n < end; n += P) {
    const T* panel = packed + n * inputs;
    const char* next = reinterpret_cast<const char*>(n + P < end ? panel + P * inputs : after);
    const int64_t columns = std::min<int64_t>(P, end - n), lines = inputs * P * static_cast<int64_t>(sizeof(T)) / 64;
    for (int64_t m = 0, line = 0; m < rows; m += R) {
      const char* ahead = next + std::min(line, lines) * 64;
      dense_tail<T, R, kAdd>(std::min<int64_t>(R, rows - m), inputs, a + m * a_step, a_step, panel, ahead,
                             c + m * c_step + n, c_step, columns);
      line += inputs / kStride;
    }
  }
}

template <class T>
void gather_rows(int64_t rows, int64_t columns, const T* from, int64_t from_step, T* to, int64_t to_step) {
  for (int64_t r = 0; r < rows; ++r) copy_row(to + r * to_step, from + r * from_step, columns);
}

template <class T>
int64_t dense_scratch(const Dense& p, int64_t rows) {
  return rows * pitch_of<T>(p.inputs) * static_cast<int64_t>(sizeof(T));
}

// One component of the atoms [begin, end), columns [first, last) of the result; `first` starts a panel.
template <class T>
void dense_rows(const Dense& p, int64_t component, int64_t irrep, int64_t begin, int64_t end, int64_t first,
                int64_t last, char* scratch) {
  const int64_t pitch = pitch_of<T>(p.inputs), rows = end - begin;
  T* x = reinterpret_cast<T*>(scratch);
  gather_rows(rows, p.inputs, static_cast<const T*>(p.x) + begin * p.x_step + component * p.inputs, p.x_step, x, pitch);
  const T* weight = static_cast<const T*>(p.weight) + irrep * packed_size<T>(p.inputs, p.outputs);
  T* out = static_cast<T*>(p.out) + begin * p.out_step + component * p.outputs;
  if (!p.bias) return multiply_rows<T, false>(rows, p.inputs, x, pitch, weight, first, last, out, p.out_step, weight);
  const T* bias = static_cast<const T*>(p.bias);
  for (int64_t r = 0; r < rows; ++r) copy_row(out + r * p.out_step + first, bias + first, last - first);
  multiply_rows<T, true>(rows, p.inputs, x, pitch, weight, first, last, out, p.out_step, weight);
}

template <class T>
struct MlpScratch {
  T *x, *bias, *gate, *hidden;

  // Returns the bytes.
  int64_t carve(const GatedMlp& p, int64_t rows, char* base) {
    Carver carver(base);
    const int64_t wide = pitch_of<T>(p.hidden);
    x = carver.take<T>(rows * pitch_of<T>(p.width));
    bias = carver.take<T>(wide);
    gate = carver.take<T>(p.irreps.count > 1 ? rows * wide : 0);
    hidden = carver.take<T>(rows * wide);
    return carver.used();
  }
};

template <class T>
int64_t mlp_scratch(const GatedMlp& p, int64_t rows) {
  return MlpScratch<T>().carve(p, rows, nullptr);
}

// hidden = s g(s), s = hidden + bias; gate = g(s) if it is wanted. Whole vectors.
template <class T>
DITKERNELS_LOOP void open_gate(int64_t count, const T* bias, T* hidden, T* gate) {
  constexpr int W = kRegisterBytes / sizeof(T);
  for (int64_t c = 0; c < count; c += W) {
    const Vec<T, W> s = load<T, W>(hidden + c) + load<T, W>(bias + c), g = gelu_gate<T, W>(s);
    store<T, W>(hidden + c, s * g);
    if (gate) store<T, W>(gate + c, g);
  }
}

template <class T>
DITKERNELS_LOOP void pass_gate(int64_t count, const T* gate, T* hidden) {
  constexpr int W = kRegisterBytes / sizeof(T);
  for (int64_t c = 0; c < count; c += W) store<T, W>(hidden + c, load<T, W>(hidden + c) * load<T, W>(gate + c));
}

template <class T>
void mlp_rows(const GatedMlp& p, int64_t begin, int64_t end, char* scratch) {
  MlpScratch<T> s;
  const int64_t rows = end - begin, C = p.width, H = p.hidden;
  s.carve(p, rows, scratch);
  constexpr int64_t W = kRegisterBytes / sizeof(T);
  const int64_t x_pitch = pitch_of<T>(C), pitch = pitch_of<T>(H), padded = (H + W - 1) / W * W;
  zero(s.bias, padded);
  if (p.up_bias) copy_row(s.bias, static_cast<const T*>(p.up_bias), H);
  // What lies behind the last column goes through the gates, too.
  for (int64_t r = 0; r < rows; ++r) zero(s.hidden + r * pitch + H, padded - H);

  const auto irrep = [&](int64_t x, int64_t first) {
    const T* up = static_cast<const T*>(p.up) + x * packed_size<T>(C, H);
    const T* down = static_cast<const T*>(p.down) + x * packed_size<T>(H, C);
    for (int64_t m = first; m < first + p.irreps.components[x]; ++m) {
      const int64_t step = p.irreps.total * C, at = begin * step + m * C;
      gather_rows(rows, C, static_cast<const T*>(p.x) + at, step, s.x, x_pitch);
      multiply_rows<T, false>(rows, C, s.x, x_pitch, up, 0, H, s.hidden, pitch, down);
      for (int64_t r = 0; r < rows; ++r) {
        T *hidden = s.hidden + r * pitch, *gate = s.gate + r * pitch;
        if (x == p.scalar) {
          open_gate(padded, s.bias, hidden, p.irreps.count > 1 ? gate : nullptr);
        } else {
          pass_gate(padded, gate, hidden);
        }
      }
      multiply_rows<T, false>(rows, H, s.hidden, pitch, down, 0, C, static_cast<T*>(p.out) + at, step,
                              up);
    }
  };
  // The scalar opens the gates of all others.
  for (const bool scalar : {true, false}) {
    int64_t first = 0;
    for (int64_t x = 0; x < p.irreps.count; first += p.irreps.components[x++]) {
      if ((x == p.scalar) == scalar) irrep(x, first);
    }
  }
}

}  // namespace
