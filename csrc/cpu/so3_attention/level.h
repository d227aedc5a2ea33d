// The kernels of so3_attention for one instruction-set level.
#pragma once

#include "../shape.h"
#include "basis.h"
#include "dense.h"

namespace {

template <class T>
int64_t so3_scratch(const Problem& problem, const Item& item, const So3Shape& shape, const So3Rows* rows,
                    const So3Basis* basis, bool backward) {
  int64_t bytes = 0;
  with_width<T>(problem.dim, [&](auto vectors) {
    So3DenseScratch<T> dense;
    So3BasisScratch<T> projected;
    bytes = rows ? lay_out<T, vectors.W>(dense, nullptr, problem, item, shape, *rows, backward)
                 : lay_out<T, vectors.W>(projected, nullptr, problem, item, shape, *basis, backward);
  });
  return bytes;
}

template <class T>
void so3_forward(const Problem& problem, const Item& item, const ItemBias& bias, const So3Shape& shape,
                 const So3Rows* rows, const So3Basis* basis, char* scratch) {
  with_width<T>(problem.dim, [&](auto vectors) {
    if (rows) {
      So3DenseScratch<T> s;
      lay_out<T, vectors.W>(s, scratch, problem, item, shape, *rows, false);
      so3_dense_forward_item<T, vectors.W>(s, problem, item, bias, shape, *rows);
    } else {
      So3BasisScratch<T> s;
      lay_out<T, vectors.W>(s, scratch, problem, item, shape, *basis, false);
      so3_basis_forward_item<T, vectors.W>(s, problem, item, bias, shape, *basis);
    }
  });
}

template <class T>
void so3_backward(const Problem& problem, const Item& item, const ItemBias& bias, const So3Shape& shape,
                  const So3Rows* rows, const So3Basis* basis, const So3Grad& grad, char* scratch) {
  with_width<T>(problem.dim, [&](auto vectors) {
    if (rows) {
      So3DenseScratch<T> s;
      lay_out<T, vectors.W>(s, scratch, problem, item, shape, *rows, true);
      so3_dense_backward_item<T, vectors.W>(s, problem, item, bias, shape, *rows, grad);
    } else {
      So3BasisScratch<T> s;
      lay_out<T, vectors.W>(s, scratch, problem, item, shape, *basis, true);
      so3_basis_backward_item<T, vectors.W>(s, problem, item, bias, shape, *basis, grad);
    }
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
