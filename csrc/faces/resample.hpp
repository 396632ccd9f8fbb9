// dlib's bilinear resampling, to the bit (dlib/image_transforms/interpolation.h, resize_image):
// what its detectors see depends on it.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/face_kernels.hpp"

namespace fastface {

// A photo as one plane a color.
struct Planes {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t stride = 0;
  std::vector<std::uint8_t> bytes;

  void resize(std::int64_t n_rows, std::int64_t n_columns);
  const std::uint8_t* row(int color, std::int64_t y) const {
    return bytes.data() + (color * rows + y) * stride;
  }
  std::uint8_t* row(int color, std::int64_t y) {
    return bytes.data() + (color * rows + y) * stride;
  }
};

// Where the columns of the target lie in the source, corners on corners.
struct ColumnPlan {
  ColumnPlan(std::int64_t n_source, std::int64_t n_target);

  std::vector<std::int32_t> left;   // the nearest column to the left
  std::int64_t n_lanes;             // so many dlib computes four at a time, in single precision
  std::vector<float> lane_shares;   // how much the column after it counts, of those
  std::vector<double> rest_shares;  // and of the rest
};

// `rgb` has three bytes a pixel, rows side by side.
void load_planes(const FaceKernels& kernels, const std::uint8_t* rgb, std::int64_t rows,
                 std::int64_t columns, Planes& out);

// `target` has its size already.
void resample(const FaceKernels& kernels, const Planes& source, Planes& target);

// One plane of floats; strides in values.
void resample(const float* source, std::int64_t source_stride, std::int64_t source_rows,
              std::int64_t source_columns, float* target, std::int64_t target_stride,
              std::int64_t target_rows, std::int64_t target_columns);

}  // namespace fastface
