// What is known of a row brought to the form that tiles score, and the bound on every score's
// error (docs/gpu.md derives it).
//
// Scores are <a, b> - |b|^2 / 2 of the shifted and scaled rows for the Euclidean metrics and
// <a, b> for the others; the higher, the nearer.
#pragma once

#include "device.cuh"

struct RowFacts {
  double squares;   // of the row as shifted and scaled
  double scale;     // the power of two it was multiplied with
  double own_norm;  // of the row itself, that the definition divides by; only for cosine
  float norm;       // at least that of the row as scaled; infinite: only the definition can tell
  float residual;   // at least the norm of what rounding the row lost
};

#define PRECISION_FLOAT32 0
#define PRECISION_BF16 1
#define PRECISION_TF32 2
#define PRECISION_TF32X3 3

constexpr double kUnderflow = 1e-30;
constexpr double kSafety = 1.01;   // absorbs second-order terms and the rounding of bounds
constexpr double kUnit = 0x1p-24;  // rounding unit of float32
constexpr double kUnitWide = 0x1p-53;
constexpr double kBlindNorm = 1e15;  // beyond it a row's scores could overflow
constexpr float kBarSlack = 1e-6f;   // of a bar: what rounding and comparing it can cost

// What adding up the products can lose, relative to the sum of their magnitudes.  float32 rounds
// every step; a tensor core is only trusted to keep 24 bits and to cut the rest off, in any order
// and grouping: 2^-23 for aligning an addend and as much for the result.
__device__ __forceinline__ double accumulation_error(int precision, int dim) {
  const double steps = static_cast<double>(dim) + 34.0;  // with bias and padding
  if (precision == PRECISION_FLOAT32) return steps * kUnit / (1.0 - steps * kUnit);
  if (precision == PRECISION_TF32X3) return 3.0 * steps * 4.0 * kUnit + 3.1 * 4.0 * kUnit;
  return steps * 4.0 * kUnit;
}

// How far a score can be from the true one.  `bounds` holds the largest norm of a candidate and
// the largest norm of what rounding one lost.
__device__ __forceinline__ double score_error(int precision, int dim, int metric,
                                              const RowFacts& row, const float* bounds) {
  const double norm = row.norm, residual = row.residual;
  const double reach = bounds[0], lost = bounds[1];
  const double half_square = is_euclidean(metric) ? 0.5 * reach * reach : 0.0;
  const double magnitude = (norm + residual) * (reach + lost) + half_square;
  return kSafety * (norm * lost + residual * (reach + lost) +
                    accumulation_error(precision, dim) * magnitude + 2.0 * kUnit * half_square) +
         kUnderflow;
}

// How far a bar has to stand below a proven score: the definition is float64 and errs as well.
__device__ __forceinline__ double definition_slack(int dim, const RowFacts& row) {
  const double norm = row.norm;
  return 4.0 * kSafety * (static_cast<double>(dim) + 8.0) * kUnitWide * norm * norm + kUnderflow;
}

// A candidate whose score is lower than another's by more than this is farther away, by the
// definition too.  Infinite for rows that cannot be screened.
__device__ __forceinline__ float margin_of(int precision, int dim, int metric, const RowFacts& row,
                                           const float* bounds) {
  if (!(row.norm < infinity())) return infinity();
  return rounded_up(2.0 * score_error(precision, dim, metric, row, bounds) +
                    definition_slack(dim, row));
}
