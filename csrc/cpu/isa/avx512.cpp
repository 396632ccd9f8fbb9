// AVX-512 (F, BW, DQ, VL): a 12 x 32 register tile.
#include <immintrin.h>

#include "cpu/exact_sums.hpp"

namespace fastface {
namespace {

constexpr int kRows = 12;
constexpr int kVectors = 2;
constexpr int kWidth = 16 * kVectors;

// Called through the table, so never inlined into its caller: inlined, GCC spills the two panel
// vectors to the stack and loses 40 %.
void score_tile(const float* rows, const float* panel, const float* bias, std::int64_t dim,
                const float* thresholds, float* scores, std::uint32_t* survivors) {
  __m512 acc[kRows][kVectors];
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
  for (std::int64_t d = 0; d < dim; ++d) {
    const __m512 left = _mm512_load_ps(panel + d * kWidth);
    const __m512 right = _mm512_load_ps(panel + d * kWidth + 16);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const __m512 x = _mm512_set1_ps(rows[d * kRows + r]);
      acc[r][0] = _mm512_fmadd_ps(x, left, acc[r][0]);
      acc[r][1] = _mm512_fmadd_ps(x, right, acc[r][1]);
    }
  }
  // Loaded only now: held through the loop above, the biases would cost two of its registers.
  const __m512 bias_left = _mm512_loadu_ps(bias);
  const __m512 bias_right = _mm512_loadu_ps(bias + 16);
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    const __m512 threshold = _mm512_set1_ps(thresholds[r]);
    const __m512 left = _mm512_sub_ps(acc[r][0], bias_left);
    const __m512 right = _mm512_sub_ps(acc[r][1], bias_right);
    _mm512_storeu_ps(scores + r * kWidth, left);
    _mm512_storeu_ps(scores + r * kWidth + 16, right);
    const std::uint32_t low = _mm512_cmp_ps_mask(left, threshold, _CMP_GE_OQ);
    const std::uint32_t high = _mm512_cmp_ps_mask(right, threshold, _CMP_GE_OQ);
    survivors[r] = low | (high << 16);
  }
}

}  // namespace

const KernelTable* avx512_kernels() {
  static constexpr KernelTable table{"avx512",
                                     kRows,
                                     kWidth,
                                     score_tile,
                                     exact_dot<float>,
                                     exact_dot<double>,
                                     exact_squared_distance<float>,
                                     exact_squared_distance<double>};
  return &table;
}

}  // namespace fastface
