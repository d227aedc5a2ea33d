// The kernels of so3_attention for one instruction-set level.
#pragma once

#include "../../so3_tables.h"
#include "../shape.h"
#include "kernel.h"

namespace {

template <class T>
int64_t so3_scratch(const Problem& problem, const Item& item, const So3Shape& shape, const So3Rows* rows,
                    const So3Basis* basis, bool backward) {
  int64_t bytes = 0;
  with_width<T>(problem.dim, [&](auto vectors) {
    So3Scratch<T> s;
    bytes = lay_out<T, vectors.W>(s, nullptr, problem, item, shape, rows, basis, backward);
  });
  return bytes;
}

template <class T>
void so3_forward(const Problem& problem, const Item& item, const ItemBias& bias, const So3Shape& shape,
                 const So3Rows* rows, const So3Basis* basis, char* scratch) {
  with_width<T>(problem.dim, [&](auto vectors) {
    So3Scratch<T> s;
    lay_out<T, vectors.W>(s, scratch, problem, item, shape, rows, basis, false);
    so3_forward_item<T, vectors.W>(s, problem, item, bias, shape, rows, basis);
  });
}

template <class T>
void so3_backward(const Problem& problem, const Item& item, const ItemBias& bias, const So3Shape& shape,
                  const So3Rows* rows, const So3Basis* basis, const So3Grad& grad, char* scratch) {
  with_width<T>(problem.dim, [&](auto vectors) {
    So3Scratch<T> s;
    lay_out<T, vectors.W>(s, scratch, problem, item, shape, rows, basis, true);
    so3_backward_item<T, vectors.W>(s, problem, item, bias, shape, rows, basis, grad);
  });
}

template <class T>
void pack_weight(int64_t rows, int64_t columns, const void* from, bool transposed, void* to) {
  pack_b<T>(rows, columns, static_cast<const T*>(from), transposed, static_cast<T*>(to));
}

template <class T>
constexpr So3Kernels make_so3_kernels() {
  return {so3_scratch<T>, so3_forward<T>, so3_backward<T>, packed_size<T>, pack_weight<T>};
}

}  // namespace
