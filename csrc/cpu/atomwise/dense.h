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

// Columns [begin, end) of C (rows, outputs) = A (rows, inputs) B, or += ; begin starts a panel. `after`: what is read
// after the last panel.
template <class T, bool kAdd>
void multiply_rows(int64_t rows, int64_t inputs, const T* a, int64_t a_step, const T* packed, int64_t begin,
                   int64_t end, T* c, int64_t c_step, const T* after) {
  gemm_blocks<T, kAdd>(rows, end - begin, inputs, a, a_step, 1, GemmShape<T>::kRows * a_step, packed + begin * inputs,
                       c + begin, c_step, after);
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
