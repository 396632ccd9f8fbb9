// Plain C++ that any compiler vectorises for its own baseline (SSE2 on x86-64, NEON on Arm).
#include "cpu/exact_sums.hpp"

namespace fastface {
namespace {

constexpr int kRows = 4;
constexpr int kWidth = 8;

void score_tile(const float* rows, const float* panel, const float* bias, std::int64_t dim,
                const float* thresholds, float* scores, std::uint32_t* survivors) {
  float acc[kRows][kWidth] = {};
  for (std::int64_t d = 0; d < dim; ++d)
    for (int r = 0; r < kRows; ++r)
      for (int c = 0; c < kWidth; ++c) acc[r][c] += rows[d * kRows + r] * panel[d * kWidth + c];
  for (int r = 0; r < kRows; ++r) {
    std::uint32_t mask = 0;
    for (int c = 0; c < kWidth; ++c) {
      const float score = acc[r][c] - bias[c];
      scores[r * kWidth + c] = score;
      mask |= static_cast<std::uint32_t>(score >= thresholds[r]) << c;
    }
    survivors[r] = mask;
  }
}

}  // namespace

const KernelTable* baseline_kernels() {
  static constexpr KernelTable table{"baseline",
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
