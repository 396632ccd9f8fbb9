// The float32 screen: packed operands, the bound on its error, and the sweep over tiles.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#include "matrix.hpp"

namespace fastface {

// A 64-byte aligned buffer of floats.
class AlignedFloats {
 public:
  explicit AlignedFloats(std::int64_t size)
      : data_(static_cast<float*>(::operator new(
            static_cast<std::size_t>(std::max<std::int64_t>(size, 1)) * sizeof(float),
            std::align_val_t{64}))) {}
  float* get() { return data_.get(); }
  const float* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(float* pointer) const { ::operator delete(pointer, std::align_val_t{64}); }
  };
  std::unique_ptr<float, Free> data_;
};

// Candidates of one block in the layout score_tile reads: panels of [dim][panel_width].
//
// The score of (x, y) is <x, y> - |y|^2 / 2 for the Euclidean metrics, <x, y / |y|> for cosine and
// <x, y> for the inner product: always the larger the nearer.
template <typename Storage>
void pack_panels(const Matrix<Storage>& candidates, std::int64_t first, std::int64_t count,
                 const double* norms, Metric metric, int width, float* panels, float* biases) {
  const std::int64_t dim = candidates.dim;
  for (std::int64_t base = 0; base < count; base += width) {
    float* panel = panels + base * dim;
    for (int lane = 0; lane < width; ++lane) {
      if (base + lane >= count) {  // a padding lane is never a survivor
        for (std::int64_t j = 0; j < dim; ++j) panel[j * width + lane] = 0.0f;
        biases[base + lane] = std::numeric_limits<float>::infinity();
        continue;
      }
      const std::int64_t i = first + base + lane;
      const Storage* source = candidates.row(i);
      double scale = 1.0;
      double bias = 0.0;
      if (metric == Metric::kCosine) scale = norms[i] > 0.0 ? 1.0 / norms[i] : 0.0;
      if (metric == Metric::kSquaredEuclidean || metric == Metric::kEuclidean)
        bias = 0.5 * norms[i] * norms[i];
      if (scale == 1.0) {
        for (std::int64_t j = 0; j < dim; ++j) panel[j * width + lane] = to_float(source[j]);
      } else {
        for (std::int64_t j = 0; j < dim; ++j) {
          if constexpr (std::is_same_v<Storage, double>)
            panel[j * width + lane] = static_cast<float>(source[j] * scale);
          else
            panel[j * width + lane] = static_cast<float>(to_float(source[j]) * scale);
        }
      }
      biases[base + lane] = static_cast<float>(bias);
    }
  }
}

template <typename Storage>
void pack_rows(const Matrix<Storage>& queries, std::int64_t first, std::int64_t count,
               int tile_rows, float* packed) {
  const std::int64_t dim = queries.dim;
  for (std::int64_t base = 0; base < count; base += tile_rows) {
    float* tile = packed + base * dim;
    for (int r = 0; r < tile_rows; ++r) {
      if (base + r >= count) {
        for (std::int64_t j = 0; j < dim; ++j) tile[j * tile_rows + r] = 0.0f;
        continue;
      }
      const Storage* source = queries.row(first + base + r);
      for (std::int64_t j = 0; j < dim; ++j) tile[j * tile_rows + r] = to_float(source[j]);
    }
  }
}

// An upper bound on |float32 score - score of the definition| for a query of norm `x_norm` against
// candidates of norm at most `y_norm`; infinite where float32 could overflow.  Derived in
// docs/exactness.md.
inline double screen_error(double x_norm, double y_norm, std::int64_t dim, Metric metric) {
  constexpr double kUnit = 0x1p-24;   // rounding unit of float32
  constexpr double kTiny = 0x1p-149;  // smallest float32
  const double y = metric == Metric::kCosine ? 1.0 : y_norm;
  if (!(x_norm < 1e18 && y < 1e18)) return std::numeric_limits<double>::infinity();
  const double d = static_cast<double>(dim);
  const double products = (d + 8.0) * kUnit * x_norm * y;
  const double biases = 2.0 * kUnit * y * y;
  const double underflow = (d + 8.0) * kTiny * (1.0 + x_norm + y);
  const double definition = (d + 8.0) * 0x1p-52 * (x_norm + y) * (x_norm + y);
  return 1.01 * (products + biases + underflow + definition);
}

// The largest float32 that is not above `value`.
inline float round_down(double value) {
  if (value >= FLT_MAX) return FLT_MAX;
  if (value < -FLT_MAX) return -std::numeric_limits<float>::infinity();
  const float rounded = static_cast<float>(value);
  return static_cast<double>(rounded) <= value
             ? rounded
             : std::nextafter(rounded, -std::numeric_limits<float>::infinity());
}

}  // namespace fastface
