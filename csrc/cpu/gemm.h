// Small register-blocked matrix product for tiles of pairs. Included by the kernel files only.
//
//   C (M, N) += A (M, K) B (K, N), or = where kAdd is false
//
// B is packed in panels of kPanel columns, (ceil(N / kPanel), K, kPanel) with zeros behind N, so that the inner loop
// reads it with unit stride; a panel (16 KB at K = 256) stays in L1 for all rows of A. A is row-major, or packed by
// columns.
#pragma once

#include "micro.h"

namespace {

// Two vectors wide, and as many rows as the accumulators leave room for: 6 with 16 registers, 12 with 32.
template <class T>
struct GemmShape {
  static constexpr int W = kRegisterBytes / sizeof(T);
  static constexpr int kPanel = 2 * W;
#if defined(DITKERNELS_AVX512) || defined(__aarch64__)
  static constexpr int kRows = 12;
#else
  static constexpr int kRows = 6;
#endif
};

// Packs (rows, columns), element (k, n) at from[k * row_step + n * column_step], into panels of P columns.
template <class T, int P>
void pack_panels(int64_t rows, int64_t columns, const T* from, int64_t row_step, int64_t column_step, T* to) {
  for (int64_t n = 0; n < columns; n += P) {
    for (int64_t k = 0; k < rows; ++k) {
      const T* source = from + k * row_step + n * column_step;
      T* target = to + n * rows + k * P;
      if (column_step == 1 && n + P <= columns) {
        for (int i = 0; i < P; ++i) target[i] = source[i];
      } else {
        for (int i = 0; i < P; ++i) target[i] = n + i < columns ? source[i * column_step] : T(0);
      }
    }
  }
}

// Elements of a packed B (K, N), and the packing of a row-major array; of its transpose if `transposed`.
template <class T>
int64_t packed_size(int64_t K, int64_t N) {
  constexpr int P = GemmShape<T>::kPanel;
  return K * ((N + P - 1) / P * P);
}

template <class T>
void pack_b(int64_t K, int64_t N, const T* from, bool transposed, T* to) {
  pack_panels<T, GemmShape<T>::kPanel>(K, N, from, transposed ? 1 : N, transposed ? K : 1, to);
}

// The same for A^T, given A^T = X (K, M) row-major: the product's A is the transpose of X.
template <class T>
int64_t packed_transpose_size(int64_t K, int64_t M) {
  constexpr int R = GemmShape<T>::kRows;
  return K * ((M + R - 1) / R * R);
}

template <class T>
void pack_transpose(int64_t K, int64_t M, const T* from, T* to) {
  pack_panels<T, GemmShape<T>::kRows>(K, M, from, M, 1, to);
}

// R rows of C and one panel: C += A B, or C = A B. Meanwhile lines from `ahead` on, if given, are asked for, one for
// every kAhead steps of k: what the next panel needs would otherwise be waited for when it begins.
constexpr int64_t kAhead = 8;

template <class T, int R, bool kAdd>
void gemm_block(int64_t K, const T* a, int64_t row_step, int64_t k_step, const T* panel, T* c, int64_t c_step,
                int64_t columns, const char* ahead = nullptr) {
  constexpr int W = GemmShape<T>::W, P = GemmShape<T>::kPanel;
  Vec<T, W> sum[R][2];
  unroll<R>([&](auto r) DITKERNELS_UNROLLED { sum[r][0] = sum[r][1] = Vec<T, W>{}; });
  const auto step = [&](int64_t k) DITKERNELS_UNROLLED {
    const Vec<T, W> b0 = load<T, W>(panel + k * P), b1 = load<T, W>(panel + k * P + W);
    unroll<R>([&](auto r) DITKERNELS_UNROLLED {
      const Vec<T, W> x = splat<T, W>(a[r * row_step + k * k_step]);
      sum[r][0] += x * b0;
      sum[r][1] += x * b1;
    });
  };
  int64_t k = 0;
  for (; ahead && k + kAhead <= K; k += kAhead, ahead += 64) {
    __builtin_prefetch(ahead, 0, 2);
    for (int64_t i = k; i < k + kAhead; ++i) step(i);
  }
  for (; k < K; ++k) step(k);
  // Written out, so that the sums stay in registers until they are stored.
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

template <class T, int R, bool kAdd>
struct GemmTail {
  static void apply(int64_t rows, int64_t K, const T* a, int64_t row_step, int64_t k_step, const T* panel, T* c,
                    int64_t c_step, int64_t columns, const char* ahead = nullptr) {
    if (rows == R) return gemm_block<T, R, kAdd>(K, a, row_step, k_step, panel, c, c_step, columns, ahead);
    GemmTail<T, R - 1, kAdd>::apply(rows, K, a, row_step, k_step, panel, c, c_step, columns, ahead);
  }
};
template <class T, bool kAdd>
struct GemmTail<T, 0, kAdd> {
  static void apply(int64_t, int64_t, const T*, int64_t, int64_t, const T*, T*, int64_t, int64_t,
                    const char* = nullptr) {}
};

// Rows of C are c_step apart. `after`: the panel that is read after the last one of this product.
template <class T, bool kAdd>
void gemm_blocks(int64_t M, int64_t N, int64_t K, const T* a, int64_t row_step, int64_t k_step, int64_t block_step,
                 const T* packed_b, T* c, int64_t c_step, const T* after) {
  constexpr int P = GemmShape<T>::kPanel, R = GemmShape<T>::kRows;
  const int64_t lines = K * P * static_cast<int64_t>(sizeof(T)) / 64;  // of a panel
  for (int64_t n = 0; n < N; n += P) {
    const T *panel = packed_b + n * K, *block = a;
    const char* next = reinterpret_cast<const char*>(n + P < N ? panel + P * K : after);
    const int64_t columns = N - n < P ? N - n : P;
    int64_t m = 0, line = 0;
    const auto ahead = [&] {
      const char* here = line < lines ? next + line * 64 : nullptr;
      line += K / kAhead;
      return here;
    };
    for (; m + R <= M; m += R, block += block_step) {
      gemm_block<T, R, kAdd>(K, block, row_step, k_step, panel, c + m * c_step + n, c_step, columns, ahead());
    }
    GemmTail<T, R - 1, kAdd>::apply(M - m, K, block, row_step, k_step, panel, c + m * c_step + n, c_step, columns,
                                    ahead());
  }
}

// C (M, N) += A (M, K) B, or = A B, A and C row-major, B packed by pack_b.
template <class T, bool kAdd = true>
void gemm(int64_t M, int64_t N, int64_t K, const T* a, const T* packed_b, T* c) {
  gemm_blocks<T, kAdd>(M, N, K, a, K, 1, GemmShape<T>::kRows * K, packed_b, c, N, packed_b);
}

// C (M, N) += X^T B, X (K, M) packed by pack_transpose.
template <class T>
void gemm_transposed(int64_t M, int64_t N, int64_t K, const T* packed_x, const T* packed_b, T* c) {
  gemm_blocks<T, true>(M, N, K, packed_x, 1, GemmShape<T>::kRows, GemmShape<T>::kRows * K, packed_b, c, N, packed_b);
}

}  // namespace
