// The definition of a distance: a float64 sum over features in an order that does not depend on
// the instruction set.
//
// Feature j goes to partial sum j mod 16, in increasing j; the 16 partial sums are then added
// pairwise: l with l + 8, then l + 4, l + 2, l + 1.  No fused multiply-add: for products of two
// float32 values it would make no difference (they are exact in float64), for squared differences
// and for float64 input it would.
#pragma once

#include "cpu/kernels.hpp"

namespace fastface {
namespace {  // files with different -m flags must not share one copy of a template

inline double reduce_lanes(double* lanes) {
  for (int half = kSumLanes / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  return lanes[0];
}

template <typename T>
inline double exact_dot(const T* x, const T* y, std::int64_t dim) {
  double lanes[kSumLanes] = {};
  const std::int64_t whole = dim - dim % kSumLanes;
  for (std::int64_t j = 0; j < whole; j += kSumLanes)
    for (int lane = 0; lane < kSumLanes; ++lane)
      lanes[lane] += static_cast<double>(x[j + lane]) * static_cast<double>(y[j + lane]);
  for (std::int64_t j = whole; j < dim; ++j)
    lanes[j - whole] += static_cast<double>(x[j]) * static_cast<double>(y[j]);
  return reduce_lanes(lanes);
}

template <typename T>
inline double exact_squared_distance(const T* x, const T* y, std::int64_t dim) {
  double lanes[kSumLanes] = {};
  const std::int64_t whole = dim - dim % kSumLanes;
  for (std::int64_t j = 0; j < whole; j += kSumLanes)
    for (int lane = 0; lane < kSumLanes; ++lane) {
      const double diff = static_cast<double>(x[j + lane]) - static_cast<double>(y[j + lane]);
      lanes[lane] += diff * diff;
    }
  for (std::int64_t j = whole; j < dim; ++j) {
    const double diff = static_cast<double>(x[j]) - static_cast<double>(y[j]);
    lanes[j - whole] += diff * diff;
  }
  return reduce_lanes(lanes);
}

}  // namespace
}  // namespace fastface
