// One instruction-set level: include this after defining DITKERNELS_LEVEL (the suffix of the table's name) in a file
// that is compiled for that level.
#pragma once

#include "../shape.h"
#include "dense.h"
#include "kernels.h"
#include "mirror.h"
#include "table.h"

namespace {

template <class T>
int64_t table_scratch(const Problem& problem, const Item& item, const ItemTable& table, bool backward) {
  TableScratch<T> s;
  return lay_out(s, nullptr, problem, item, table, backward);
}

template <class T>
void table_forward(const Problem& problem, const Item& item, const ItemBias& bias, const ItemTable& table,
                   char* scratch) {
  TableScratch<T> s;
  lay_out(s, scratch, problem, item, table, false);
  with_shape<T>(problem.dim,
                [&](auto shape) { table_forward_heads<T, shape.W, shape.NV>(s, problem, item, bias, table); });
}

template <class T>
void table_backward(const Problem& problem, const Item& item, const ItemBias& bias, const ItemTable& table,
                    const ItemGrad& grad, char* scratch) {
  TableScratch<T> s;
  lay_out(s, scratch, problem, item, table, true);
  with_shape<T>(problem.dim,
                [&](auto shape) { table_backward_heads<T, shape.W, shape.NV>(s, problem, item, bias, table, grad); });
}

template <class T>
int64_t dense_scratch(const Problem& problem, const Item& item, const DenseRows& rows, bool backward) {
  DenseScratch<T> s;
  return lay_out(s, nullptr, problem, item, rows, backward);
}

template <class T>
void dense_forward(const Problem& problem, const Item& item, const ItemBias& bias, const DenseRows& rows,
                   char* scratch) {
  DenseScratch<T> s;
  lay_out(s, scratch, problem, item, rows, false);
  with_shape<T>(problem.dim,
                [&](auto shape) { dense_forward_item<T, shape.W, shape.NV>(s, problem, item, bias, rows); });
}

template <class T>
void dense_backward(const Problem& problem, const Item& item, const ItemBias& bias, const DenseRows& rows,
                    const ItemGrad& grad, char* scratch) {
  DenseScratch<T> s;
  lay_out(s, scratch, problem, item, rows, true);
  with_shape<T>(problem.dim,
                [&](auto shape) { dense_backward_item<T, shape.W, shape.NV>(s, problem, item, bias, rows, grad); });
}

// Displacements within one item mirror each other if the item holds the whole molecule.
inline bool mirrors(const Item& item, const Projection& projection) {
  return projection.positions && item.rows == item.size;
}

template <class T>
int64_t projected_scratch(const Problem& problem, const Item& item, const Projection& projection,
                          const ItemTable& table, bool backward) {
  MirrorScratch<T> mirror;
  if (mirrors(item, projection)) return lay_out(mirror, nullptr, problem, item, projection, table, backward);
  return lay_out(mirror.block, nullptr, problem, item, projection, table, backward);
}

template <class T>
void projected_forward(const Problem& problem, const Item& item, const ItemBias& bias, const Projection& projection,
                       const ItemTable& table, char* scratch) {
  MirrorScratch<T> s;
  const bool mirror = mirrors(item, projection);
  if (mirror) {
    lay_out(s, scratch, problem, item, projection, table, false);
  } else {
    lay_out(s.block, scratch, problem, item, projection, table, false);
  }
  with_shape<T>(problem.dim, [&](auto shape) {
    if (mirror) {
      mirror_forward_item<T, shape.W, shape.NV>(s, problem, item, bias, projection, table);
    } else {
      projected_forward_item<T, shape.W, shape.NV>(s.block, problem, item, bias, projection, table);
    }
  });
}

template <class T>
void projected_backward(const Problem& problem, const Item& item, const ItemBias& bias, const Projection& projection,
                        const ItemTable& table, const ItemGrad& grad, char* scratch) {
  MirrorScratch<T> s;
  const bool mirror = mirrors(item, projection);
  if (mirror) {
    lay_out(s, scratch, problem, item, projection, table, true);
  } else {
    lay_out(s.block, scratch, problem, item, projection, table, true);
  }
  with_shape<T>(problem.dim, [&](auto shape) {
    if (mirror) {
      mirror_backward_item<T, shape.W, shape.NV>(s, problem, item, bias, projection, table, grad);
    } else {
      projected_backward_item<T, shape.W, shape.NV>(s.block, problem, item, bias, projection, table, grad);
    }
  });
}

template <class T>
void pack_weight(int64_t rows, int64_t columns, const void* from, bool transposed, void* to) {
  pack_b<T>(rows, columns, static_cast<const T*>(from), transposed, static_cast<T*>(to));
}

template <class T>
constexpr PairKernels make_kernels() {
  return {table_scratch<T>,
          table_forward<T>,
          table_backward<T>,
          dense_scratch<T>,
          dense_forward<T>,
          dense_backward<T>,
          projected_scratch<T>,
          projected_forward<T>,
          projected_backward<T>,
          packed_size<T>,
          pack_weight<T>};
}

}  // namespace
