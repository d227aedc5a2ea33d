// Product of rows that are 0 outside of a band with a packed matrix. Included by the kernel files only.
//
//   C (rows, N) = A (rows, K) B (K, N),   A_ik = 0 unless begin_i <= k < end_i
//
// Of K radial functions of a distance only neighbours differ from 0. A block of kRows rows is multiplied over the union
// of their bands, so that rows are taken in the order of their bands, not of their numbers; the part of B that a band
// needs then stays in the first-level cache from block to block. What a row is multiplied with beyond its own band is 0
// and adds nothing: the bits of its result do not depend on the other rows of its block.
#pragma once

#include "../gemm.h"

namespace {

// Blocks of rows in the order of the middles of their bands; the last row fills up the last block.
struct Bands {
  int32_t *begin, *end;              // (rows)
  int32_t* order;                    // (rows and those that fill up)
  int32_t *block_begin, *block_end;  // (blocks) union of the bands
  int32_t* start;                    // (2 K + 2) of each bin of the sort
  int32_t *first, *last;             // (panels of kRows functions) range in the order outside of which they are 0
};

template <class T>
void lay_out(Bands& bands, Carver& carver, int64_t rows, int64_t K) {
  constexpr int64_t R = GemmShape<T>::kRows;
  bands = {carver.take<int32_t>(rows),         carver.take<int32_t>(rows),  carver.take<int32_t>(rows + R),
           carver.take<int32_t>(rows / R + 1), carver.take<int32_t>(rows / R + 1), carver.take<int32_t>(2 * K + 2),
           carver.take<int32_t>(K / R + 1),    carver.take<int32_t>(K / R + 1)};
}

template <class T>
void sort_bands(const Bands& bands, int64_t rows, int64_t K) {
  constexpr int64_t R = GemmShape<T>::kRows;
  const int64_t bins = 2 * K + 1;
  for (int64_t i = 0; i <= bins; ++i) bands.start[i] = 0;
  for (int64_t i = 0; i < rows; ++i) ++bands.start[bands.begin[i] + bands.end[i] + 1];
  for (int64_t i = 0; i < bins; ++i) bands.start[i + 1] += bands.start[i];
  for (int64_t i = 0; i < rows; ++i)
    bands.order[bands.start[bands.begin[i] + bands.end[i]]++] = static_cast<int32_t>(i);
  for (int64_t i = 0; i < rows; i += R) {
    int32_t begin = static_cast<int32_t>(K), end = 0;
    for (int64_t r = i; r < i + R; ++r) {
      if (r >= rows) bands.order[r] = bands.order[rows - 1];
      const int32_t row = bands.order[r];
      begin = bands.begin[row] < begin ? bands.begin[row] : begin;
      end = bands.end[row] > end ? bands.end[row] : end;
    }
    bands.block_begin[i / R] = begin;
    bands.block_end[i / R] = end;
  }
}

// The rows a[0], ..., a[R - 1], elements `begin` to `end`, times one panel; added to the rows c, or written there. The
// same row may be there more than once.
template <class T, int R, bool kAdd>
DITKERNELS_LOOP void band_block(int64_t begin, int64_t end, const T* const* a, const T* panel, T* const* c,
                                int64_t columns) {
  constexpr int W = GemmShape<T>::W, P = GemmShape<T>::kPanel;
  Vec<T, W> sum[R][2];
  const T* row[R];
  unroll<R>([&](auto r) DITKERNELS_UNROLLED {
    row[r] = a[r];
    sum[r][0] = sum[r][1] = Vec<T, W>{};
  });
  for (int64_t k = begin; k < end; ++k) {
    const Vec<T, W> b0 = load<T, W>(panel + k * P), b1 = load<T, W>(panel + k * P + W);
    unroll<R>([&](auto r) DITKERNELS_UNROLLED {
      const Vec<T, W> x = splat<T, W>(row[r][k]);
      sum[r][0] += x * b0;
      sum[r][1] += x * b1;
    });
  }
  T part[P];
  const auto edge = [&](T* to, bool back) {
    for (int64_t i = 0; i < columns; ++i) back ? to[i] = part[i] : part[i] = to[i];
    return part;
  };
  if constexpr (kAdd) {
    unroll<R>([&](auto r) DITKERNELS_UNROLLED {
      const T* from = columns == P ? c[r] : edge(c[r], false);
      sum[r][0] += load<T, W>(from);
      sum[r][1] += load<T, W>(from + W);
    });
  }
  unroll<R>([&](auto r) DITKERNELS_UNROLLED {
    T* to = columns == P ? c[r] : part;
    store<T, W>(to, sum[r][0]);
    store<T, W>(to + W, sum[r][1]);
    if (columns < P) edge(c[r], true);
  });
}

// Rows are K elements apart in A and N in C. B is packed by pack_b.
template <class T>
void banded_product(const Bands& bands, int64_t rows, int64_t N, int64_t K, const T* a, const T* packed_b, T* c) {
  constexpr int P = GemmShape<T>::kPanel, R = GemmShape<T>::kRows;
  for (int64_t i = 0; i < rows; i += R) {
    const T* from[R];
    T* to[R];
    for (int64_t r = 0; r < R; ++r) {
      from[r] = a + bands.order[i + r] * K;
      to[r] = c + bands.order[i + r] * N;
    }
    const int64_t begin = bands.block_begin[i / R], end = bands.block_end[i / R];
    for (int64_t n = 0; n < N; n += P) {
      band_block<T, R, false>(begin, end, from, packed_b + n * K, to, N - n < P ? N - n : P);
      for (int64_t r = 0; r < R; ++r) to[r] += P;
    }
  }
}

// The part of D (rows, K) = A (rows, N) B (N, K) in the bands, each an element longer; added to D, or written there.
// B is packed by pack_b. Nothing is written to panels of columns in which no row of a block has its band.
template <class T, bool kAdd>
void product_in_bands(const Bands& bands, int64_t rows, int64_t N, int64_t K, const T* a, const T* packed_b, T* d) {
  constexpr int P = GemmShape<T>::kPanel, R = GemmShape<T>::kRows;
  for (int64_t i = 0; i < rows; i += R) {
    const int64_t begin = bands.block_begin[i / R] / P * P, end = bands.block_end[i / R] + 1;
    const T* from[R];
    T* to[R];
    for (int64_t r = 0; r < R; ++r) {
      from[r] = a + bands.order[i + r] * N;
      to[r] = d + bands.order[i + r] * K + begin;
    }
    for (int64_t k = begin; k < end && k < K; k += P) {
      band_block<T, R, kAdd>(0, N, from, packed_b + k * N, to, K - k < P ? K - k : P);
      for (int64_t r = 0; r < R; ++r) to[r] += P;
    }
  }
}

// The ranges of rows of banded_transposed.
template <class T>
void find_ranges(const Bands& bands, int64_t rows, int64_t K) {
  constexpr int64_t R = GemmShape<T>::kRows;
  for (int64_t k = 0; k < K; k += R) {
    const auto none = [&](int64_t i) {
      return bands.begin[bands.order[i]] >= k + R || bands.end[bands.order[i]] <= k;
    };
    int64_t first = 0, last = rows;
    while (first < last && none(first)) ++first;
    while (last > first && none(last - 1)) --last;
    bands.first[k / R] = static_cast<int32_t>(first);
    bands.last[k / R] = static_cast<int32_t>(last);
  }
}

// Packs the transpose of A (rows, K) for banded_transposed: panels of kRows columns, rows in the order of the bands.
template <class T>
void pack_sorted(const Bands& bands, int64_t rows, int64_t K, const T* from, T* to) {
  constexpr int R = GemmShape<T>::kRows;
  for (int64_t k = 0; k < K; k += R) {
    for (int64_t i = 0; i < rows; ++i, to += R) {
      const T* row = from + bands.order[i] * K + k;
      for (int64_t c = 0; c < R; ++c) to[c] = k + c < K ? row[c] : T(0);
    }
  }
}

// R columns of A and one panel of rows of B, which lie `step` elements apart in the order of the bands.
template <class T, int R>
DITKERNELS_LOOP void transposed_block(int64_t rows, const T* a, const int32_t* order, const T* b, int64_t step, T* c,
                                      int64_t columns) {
  constexpr int W = GemmShape<T>::W, P = GemmShape<T>::kPanel, kStep = GemmShape<T>::kRows;
  Vec<T, W> sum[R][2];
  unroll<R>([&](auto r) DITKERNELS_UNROLLED { sum[r][0] = sum[r][1] = Vec<T, W>{}; });
  for (int64_t i = 0; i < rows; ++i, a += kStep) {
    const T* row = b + order[i] * step;
    const Vec<T, W> b0 = load<T, W>(row), b1 = load<T, W>(row + W);
    unroll<R>([&](auto r) DITKERNELS_UNROLLED {
      const Vec<T, W> x = splat<T, W>(a[r]);
      sum[r][0] += x * b0;
      sum[r][1] += x * b1;
    });
  }
  unroll<R>([&](auto r) DITKERNELS_UNROLLED {
    T* to = c + r * step;
    if (columns == P) {
      store<T, W>(to, load<T, W>(to) + sum[r][0]);
      store<T, W>(to + W, load<T, W>(to + W) + sum[r][1]);
    } else {
      for (int64_t n = 0; n < columns; ++n) to[n] += n < W ? sum[r][0][n] : sum[r][1][n - W];
    }
  });
}

// C (K, N) += A^T B for such rows A (rows, K), packed by pack_sorted, and any B (rows, N), row-major, of which up to
// kPanel - 1 elements behind the end are read: only a range of the sorted rows (find_ranges) differs from 0 in a panel.
template <class T>
void banded_transposed(const Bands& bands, int64_t rows, int64_t N, int64_t K, const T* packed_a, const T* b, T* c) {
  constexpr int P = GemmShape<T>::kPanel, R = GemmShape<T>::kRows;
  for (int64_t k = 0; k < K; k += R) {
    const int64_t first = bands.first[k / R], last = bands.last[k / R];
    const T* block = packed_a + k * rows + first * R;
    for (int64_t n = 0; n < N; n += P) {
      const int64_t columns = N - n < P ? N - n : P;
      const auto run = [&](auto r) DITKERNELS_UNROLLED {
        if (K - k == r + 1 || (r + 1 == R && K - k > R))
          transposed_block<T, decltype(r)::kValue + 1>(last - first, block, bands.order + first, b + n, N,
                                                       c + k * N + n, columns);
      };
      unroll<R>(run);
    }
  }
}

}  // namespace
