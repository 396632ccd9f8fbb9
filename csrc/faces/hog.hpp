// Templates over histograms of oriented gradients, searched at every size of a photo.
//
// The features are those of Felzenszwalb, Girshick, McAllester & Ramanan ("Object Detection with
// Discriminatively Trained Part-Based Models", IEEE TPAMI 32(9), 2010), computed as dlib does
// (dlib/image_transforms/fhog.h), in the same order and precision.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/face_kernels.hpp"

namespace fastface {

// A window whose response reaches the least of its template.
struct HogHit {
  std::int32_t level;  // of the pyramid
  std::int32_t part;   // template
  std::int32_t row;    // in cells
  std::int32_t column;
  float response;
};

// The nearest of 18 directions for every gradient; see kGradientSpan.
const std::vector<std::uint8_t>& gradient_directions();

class HogSearch {
 public:
  // Filters of one template add up in their order.
  explicit HogSearch(std::vector<SeparableFilter> filters);

  int parts() const { return parts_; }

  // Searches `levels` sizes of a photo, each 5/6 of the one before; hits come by level, template,
  // row and column.  `least` has one value a template.
  std::vector<HogHit> run(const FaceKernels& kernels, const std::uint8_t* rgb, std::int64_t rows,
                          std::int64_t columns, int levels, const float* least) const;

 private:
  std::vector<SeparableFilter> filters_;  // by plane, so that each is read once
  int parts_ = 0;
};

}  // namespace fastface
