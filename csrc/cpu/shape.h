// The vector shape that serves a head width. Included by the kernel files only.
#pragma once

#include "simd.h"

namespace {

// Vector width and vectors kept in registers, as a value to call a generic lambda with.
template <int W_, int NV_>
struct Shape {
  static constexpr int W = W_, NV = NV_;
};

// Calls f(Shape) with the widest vectors that divide the head width. Fewer shapes for double keep the library small.
template <class T, class F>
void with_shape(int64_t dim, F&& f) {
  constexpr int W = kRegisterBytes / sizeof(T);
  if constexpr (sizeof(T) == sizeof(float)) {
    if (dim % (4 * W) == 0) return f(Shape<W, 4>{});
  }
  if (dim % (2 * W) == 0) return f(Shape<W, 2>{});
  if (dim % W == 0) return f(Shape<W, 1>{});
  if constexpr (W == 16) {
    if (dim % (W / 2) == 0) return f(Shape<W / 2, 1>{});
  }
  return f(Shape<1, 1>{});
}

// The same with one vector at a time.
template <class T, class F>
void with_width(int64_t dim, F&& f) {
  constexpr int W = kRegisterBytes / sizeof(T);
  if (dim % W == 0) return f(Shape<W, 1>{});
  if constexpr (W == 16) {
    if (dim % (W / 2) == 0) return f(Shape<W / 2, 1>{});
  }
  return f(Shape<1, 1>{});
}

}  // namespace
