// A read-only matrix of rows as NumPy hands it over, and access to its rows in working precision.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "cpu/kernels.hpp"

namespace fastface {

enum class Metric { kSquaredEuclidean, kEuclidean, kCosine, kInnerProduct };

// Storage types.  Arithmetic on float16 is arithmetic on its exact float32 values.
struct Half {
  std::uint16_t bits;
};

inline float to_float(Half half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half.bits & 0x8000u) << 16;
  const std::uint32_t exponent = (half.bits >> 10) & 0x1fu;
  const std::uint32_t mantissa = half.bits & 0x3ffu;
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24, exact in float32
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign ? -magnitude : magnitude;
  }
  const std::uint32_t wide = exponent == 31 ? (0xffu << 23) | (mantissa << 13)
                                            : ((exponent + 112) << 23) | (mantissa << 13);
  const std::uint32_t bits = sign | wide;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline float to_float(float value) { return value; }
inline float to_float(double value) { return static_cast<float>(value); }

template <typename Storage>
struct Matrix {
  const Storage* data;
  std::int64_t rows;
  std::int64_t dim;

  const Storage* row(std::int64_t i) const { return data + i * dim; }
};

// The type in which the definition of a distance reads a row: float64 stays, the others are
// float32.
template <typename Storage>
struct Working {
  using type = float;
};
template <>
struct Working<double> {
  using type = double;
};

// Reads rows in working precision; only float16 needs the scratch it carries.
template <typename Storage>
class RowReader {
 public:
  using T = typename Working<Storage>::type;

  explicit RowReader(const Matrix<Storage>& matrix) : matrix_(matrix) {}

  const T* operator()(std::int64_t i) {
    if constexpr (std::is_same_v<Storage, Half>) {
      scratch_.resize(static_cast<std::size_t>(matrix_.dim));
      const Half* source = matrix_.row(i);
      for (std::int64_t j = 0; j < matrix_.dim; ++j) scratch_[j] = to_float(source[j]);
      return scratch_.data();
    } else {
      return matrix_.row(i);
    }
  }

 private:
  Matrix<Storage> matrix_;
  std::vector<float> scratch_;
};

// The definition of every metric, on rows in working precision.
struct Definition {
  const KernelTable& kernels;
  Metric metric;
  std::int64_t dim;

  double dot(const float* x, const float* y) const { return kernels.dot_f32(x, y, dim); }
  double dot(const double* x, const double* y) const { return kernels.dot_f64(x, y, dim); }
  double squared(const float* x, const float* y) const {
    return kernels.squared_distance_f32(x, y, dim);
  }
  double squared(const double* x, const double* y) const {
    return kernels.squared_distance_f64(x, y, dim);
  }

  // The value by which neighbours are ordered.  The norms matter to the cosine metric alone.
  template <typename T>
  double key(const T* x, double x_norm, const T* y, double y_norm) const {
    switch (metric) {
      case Metric::kInnerProduct:
        return -dot(x, y);
      case Metric::kCosine: {
        const double scale = x_norm * y_norm;
        if (scale == 0.0) return 1.0;
        const double distance = 1.0 - dot(x, y) / scale;
        return distance < 0.0 ? 0.0 : distance > 2.0 ? 2.0 : distance;
      }
      default:
        return squared(x, y);
    }
  }

  // The distance that belongs to a key, rounded once to float32.
  float distance(double key) const {
    return static_cast<float>(metric == Metric::kEuclidean ? std::sqrt(key) : key);
  }
};

}  // namespace fastface
