// The rows of a self-join, as it reads them: heads that screen, codes that judge.
//
// The head of a row is its part along the leading directions of all rows, and what bounds the rest:
// the length of the tail that was cut off, and, in 8-bit integers, what rounding lost.  These stand
// as further features, so that the product of two heads is never below the product of the rows
// (docs/exactness.md).
#pragma once

#include <vector>

#include "panels.hpp"

namespace fastface {

// Rows that are compared, in the order of their places; a = (x - shift) * t.
class JoinRows {
 public:
  // Rows of a group; a multiple of every instruction set's panel width and tile.
  static constexpr std::int64_t kGroup = 96;
  static constexpr std::int64_t kBounds = 4;      // features of a head that bound the rest
  static constexpr std::int64_t kMostHead = 240;  // directions: more would not fit 8 bits

  // `rotation` has the leading directions as its columns, [dim][n_directions].
  JoinRows(const Matrix& x, const std::int32_t* order, const double* shift, const double* rotation,
           std::int64_t n_directions, int n_threads, Interrupt& interrupt);

  const Matrix& matrix() const { return x_; }
  const KernelTable& kernels() const { return kernels_; }
  std::int64_t rows() const { return x_.rows; }
  std::int64_t n_groups() const { return (x_.rows + kGroup - 1) / kGroup; }
  std::int64_t panels_of(std::int64_t group) const {
    return (std::min(kGroup, x_.rows - group * kGroup) + width_ - 1) / width_;
  }
  std::int32_t row_at(std::int64_t place) const { return order_[place]; }
  bool integers() const { return integers_; }
  std::int64_t head() const { return head_; }
  double scale() const { return scale_; }  // t

  // Lets a tile read a panel as candidates.
  void show(std::int64_t panel, Int8Tile& tile) const;
  // Copies the heads of a group as those of queries, rows at multiples of `stride`.
  void copy_heads(std::int64_t group, std::int64_t stride, float* floats, std::int8_t* int8s,
                  float* scales, std::int32_t* offsets) const;

  // Of a row, by its place.
  double half_squares(std::int64_t place) const { return halves_[static_cast<std::size_t>(place)]; }

  // What the score <a, b> - |b|^2 / 2 of a pair by codes, and its error, take from either row.
  struct Code {
    float scale, half_squares, residual, norm;
  };
  const Code& code_of(std::int64_t place) const {
    return code_of_[static_cast<std::size_t>(place)];
  }

  // How far a score of a row may be off at most, whatever the candidate.
  float worst_error(std::int64_t query) const {
    const double own = code_of(query).residual;
    const double norm = code_of(query).norm;
    return static_cast<float>(kSafety * ((norm + own) * largest_residual_ + own * largest_norm_) +
                              1e-5 * (norm + largest_norm_) * largest_norm_);
  }
  const std::int8_t* code(std::int64_t place) const { return codes_.get() + place * stride_; }
  const std::int8_t* codes() const { return codes_.get(); }
  std::int64_t code_stride() const { return stride_; }

  // [n_groups][dim], the mean of every group.
  const std::vector<float>& centers() const { return centers_; }

 private:
  struct Scratch;
  void measure(int n_threads, Interrupt& interrupt);
  void encode(std::int64_t place, Scratch& scratch);
  void write_head(std::int64_t place, const std::vector<double>& values, double tail);
  std::int64_t at(std::int64_t place, std::int64_t feature) const {  // within the panels
    const std::int64_t panel = place / width_ * head_ * width_;
    return panel + (feature / 4 * width_ + place % width_) * 4 + feature % 4;
  }

  const Matrix& x_;
  const KernelTable& kernels_;
  const std::int32_t* order_;
  const double* shift_;
  const double* rotation_;
  std::int64_t n_directions_;
  std::int64_t width_;
  std::int64_t head_;  // features of a head
  std::int64_t stride_;
  bool integers_;
  double scale_ = 1.0;
  double largest_norm_ = 0.0;
  double largest_residual_ = 0.0;
  float slope_ = 0.0f, offset_ = 0.0f;  // of the error that float32 makes
  Aligned<std::uint8_t> int8_heads_;    // [panels][head / 4][width][4]
  Aligned<float> float_heads_;          // [panels][head][width]
  std::vector<float> biases_, head_scales_, zeros_;
  Aligned<std::int8_t> codes_;
  std::vector<Code> code_of_;
  std::vector<double> halves_;
  std::vector<float> centers_;
};

}  // namespace fastface
