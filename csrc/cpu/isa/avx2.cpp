// AVX2 with fused multiply-add: a 6 x 16 register tile.
#include <immintrin.h>

#include "cpu/exact_sums.hpp"

namespace fastface {
namespace {

constexpr int kRows = 6;
constexpr int kVectors = 2;
constexpr int kWidth = 8 * kVectors;

void score_tile(const float* rows, const float* panel, const float* bias, std::int64_t dim,
                const float* thresholds, float* scores, std::uint32_t* survivors) {
  __m256 acc[kRows][kVectors];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) acc[r][0] = acc[r][1] = _mm256_setzero_ps();
  for (std::int64_t d = 0; d < dim; ++d) {
    const __m256 left = _mm256_load_ps(panel + d * kWidth);
    const __m256 right = _mm256_load_ps(panel + d * kWidth + 8);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m256 x = _mm256_broadcast_ss(rows + d * kRows + r);
      acc[r][0] = _mm256_fmadd_ps(x, left, acc[r][0]);
      acc[r][1] = _mm256_fmadd_ps(x, right, acc[r][1]);
    }
  }
  // Loaded only now: held through the loop above, the biases would cost two of its registers.
  const __m256 bias_left = _mm256_loadu_ps(bias);
  const __m256 bias_right = _mm256_loadu_ps(bias + 8);
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    const __m256 threshold = _mm256_broadcast_ss(thresholds + r);
    const __m256 left = _mm256_sub_ps(acc[r][0], bias_left);
    const __m256 right = _mm256_sub_ps(acc[r][1], bias_right);
    _mm256_storeu_ps(scores + r * kWidth, left);
    _mm256_storeu_ps(scores + r * kWidth + 8, right);
    const int low = _mm256_movemask_ps(_mm256_cmp_ps(left, threshold, _CMP_GE_OQ));
    const int high = _mm256_movemask_ps(_mm256_cmp_ps(right, threshold, _CMP_GE_OQ));
    survivors[r] = static_cast<std::uint32_t>(low | (high << 8));
  }
}

}  // namespace

const KernelTable* avx2_kernels() {
  static constexpr KernelTable table{"avx2",
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
