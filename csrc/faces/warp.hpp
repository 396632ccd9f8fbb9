// Cuts a face out of a photo: halving against aliasing, then bilinear sampling on a turned grid.
#pragma once

#include <cstdint>

namespace fastface {

// Part of an RGB photo; rows may lie apart.
struct PhotoView {
  const std::uint8_t* pixels;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t row_stride;  // in bytes
};

// Rows or columns that are left of `n` when every second one of those with two neighbours on either
// side is kept.
inline std::int64_t halved(std::int64_t n) { return (n - 3) / 2; }

// Filters with [1 4 6 4 1] / 16 both ways; out has halved(rows) x halved(columns) pixels.
void halve(const PhotoView& photo, std::uint8_t* out);

// Pixel (column, row) of the crop is sampled at origin + step * (column + i * row).
struct SampleGrid {
  double x, y;
  double step_x, step_y;
  std::int64_t size;
  double rounding;  // added before the fraction is cut off
};

// out has size x size pixels; where one of the four neighbours is outside, black.
void sample(const PhotoView& photo, const SampleGrid& grid, std::uint8_t* out);

}  // namespace fastface
