// A read-only matrix of rows as NumPy hands it over, and the definition of every distance on it.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "cpu/kernels.hpp"

namespace fastface {

constexpr double kInfiniteDouble = std::numeric_limits<double>::infinity();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Larger norms are refused: their squares leave float64.
constexpr double kLargestNorm = 1e150;
// A shorter row counts as zero for the cosine metric: below, float64 loses digits of its square.
constexpr double kSmallestSquaredNorm = 1e-280;

// Rows may be strided in both directions, so that slices and Fortran order need no copy.
struct Matrix {
  const char* data;
  Storage storage;
  std::int64_t rows;
  std::int64_t dim;
  std::int64_t row_stride;     // in bytes
  std::int64_t column_stride;  // likewise

  std::int64_t itemsize() const { return std::int64_t{2} << static_cast<int>(storage); }
};

inline std::int64_t round_up(std::int64_t value, std::int64_t step) {
  return (value + step - 1) / step * step;
}

inline double widen(Half half) {
  const int exponent = half.bits >> 10 & 0x1f;
  const double mantissa = half.bits & 0x3ff;
  double magnitude;
  if (exponent == 0)
    magnitude = mantissa * 0x1p-24;
  else if (exponent == 31)
    magnitude = mantissa == 0.0 ? kInfiniteDouble : std::numeric_limits<double>::quiet_NaN();
  else
    magnitude = std::ldexp(1024.0 + mantissa, exponent - 25);
  return half.bits & 0x8000 ? -magnitude : magnitude;
}

// One value of a contiguous row.
inline double value_at(const void* row, Storage storage, std::int64_t j) {
  switch (storage) {
    case kFloat16:
      return widen(static_cast<const Half*>(row)[j]);
    case kFloat32:
      return static_cast<const float*>(row)[j];
    default:
      return static_cast<const double*>(row)[j];
  }
}

// Thrown for a row that holds NaN, infinity or values beyond kLargestNorm.
struct BadValues {
  bool in_candidates;  // else in the queries
};

// Reads contiguous rows; only a matrix with strided columns needs the scratch it carries.  The
// row of one call is gone at the next.
class RowReader {
 public:
  explicit RowReader(const Matrix& matrix) : matrix_(matrix) {
    if (!contiguous()) scratch_.resize(static_cast<std::size_t>(matrix.dim * matrix.itemsize()));
  }

  const void* operator()(std::int64_t i) {
    const char* source = matrix_.data + i * matrix_.row_stride;
    if (contiguous()) return source;
    switch (matrix_.storage) {
      case kFloat16:
        return gather<2>(source);
      case kFloat32:
        return gather<4>(source);
      default:
        return gather<8>(source);
    }
  }

  void prefetch(std::int64_t i) const {
    const char* source = matrix_.data + i * matrix_.row_stride;
    if (contiguous())
      for (std::int64_t byte = 0; byte < matrix_.dim * matrix_.itemsize(); byte += 64)
        __builtin_prefetch(source + byte);
  }

 private:
  bool contiguous() const { return matrix_.column_stride == matrix_.itemsize(); }

  template <std::size_t kBytes>
  const void* gather(const char* source) {
    for (std::int64_t j = 0; j < matrix_.dim; ++j)
      std::memcpy(scratch_.data() + j * kBytes, source + j * matrix_.column_stride, kBytes);
    return scratch_.data();
  }

  Matrix matrix_;
  std::vector<char> scratch_;
};

// The definition of every metric between a row of one storage type and a row of another.
class Definition {
 public:
  Definition(const KernelTable& kernels, Metric metric, const Matrix& x, const Matrix& y)
      : metric_(metric),
        dim_(x.dim),
        dot_(kernels.dot[x.storage][y.storage]),
        squared_distance_(kernels.squared_distance[x.storage][y.storage]) {}

  // The value by which neighbours are ordered.  The norms matter to the cosine metric alone.
  double key(const void* x, double x_norm, const void* y, double y_norm) const {
    if (metric_ == Metric::kInnerProduct) return -dot_(x, y, dim_);
    if (metric_ != Metric::kCosine) return squared_distance_(x, y, dim_);
    if (x_norm == 0.0 || y_norm == 0.0) return 1.0;
    const double distance = 1.0 - dot_(x, y, dim_) / (x_norm * y_norm);
    return distance < 0.0 ? 0.0 : distance > 2.0 ? 2.0 : distance;
  }

  // The distance that belongs to a key, rounded once to float32.
  float distance(double key) const {
    return static_cast<float>(metric_ == Metric::kEuclidean ? std::sqrt(key) : key);
  }

  Metric metric() const { return metric_; }

 private:
  Metric metric_;
  std::int64_t dim_;
  double (*dot_)(const void*, const void*, std::int64_t);
  double (*squared_distance_)(const void*, const void*, std::int64_t);
};

// The squared norm by definition; refuses rows that the kernels cannot work with.
inline double checked_squared_norm(const KernelTable& kernels, Storage storage, const void* row,
                                   std::int64_t dim, bool is_candidate) {
  const double squared = kernels.dot[storage][storage](row, row, dim);
  if (!(squared <= kLargestNorm * kLargestNorm)) throw BadValues{is_candidate};
  return squared;
}

// The norm by which the cosine metric divides.
inline double cosine_norm(double squared_norm) {
  return squared_norm < kSmallestSquaredNorm ? 0.0 : std::sqrt(squared_norm);
}

}  // namespace fastface
