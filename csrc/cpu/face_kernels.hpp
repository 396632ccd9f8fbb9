// The table of kernels that search photos for faces; every instruction set fills in its own.
//
// All of them round after every operation, in the order that is written down, so that results are
// the same bits in every instruction set, and dlib's.
#pragma once

#include <cstdint>

namespace fastface {

constexpr int kHogCell = 8;     // side of a cell in pixels
constexpr int kHogBins = 18;    // directions of a gradient
constexpr int kHogPlanes = 31;  // 18 signed directions, 9 unsigned ones, 4 textures
constexpr int kHogTaps = 10;    // side of a template in cells

// A difference of two bytes is -255 to 255; gradient (x, y) is at (y + 255) * 511 + x + 255.
constexpr int kGradientSpan = 511;

// Buffers have room for this much more than what is in them, of whatever type.
constexpr std::int64_t kFaceSlack = 16;

constexpr int kSpreadColumns = 8;

// One row of a photo: the strongest gradient of three colors.
struct GradientRow {
  const std::uint8_t* above[3];
  const std::uint8_t* here[3];
  const std::uint8_t* below[3];
  std::int64_t end;        // from the second pixel on, up to this one
  std::int64_t later_end;  // up to here the later one of two equally strong colors counts
  std::int32_t* places;    // out: where in a table of gradients
  float* lengths;          // out
};

// Two rows of cells that the gradients of the pixels between them are shared out to.
struct CellBand {
  float* sums;  // [18][columns][2]: of the upper and the lower row
  std::int64_t stride;
};

// One row of cells in the middle of three.
struct CellRows {
  const float* energies[3];  // [width + 2]
  const float* histogram;    // [18][histogram_stride], from the second column on
  std::int64_t histogram_stride;
  std::int64_t width;
  float* clips;  // scratch, [4][clip_stride]
  std::int64_t clip_stride;
  float* features;  // out: [31][plane_stride]
  std::int64_t plane_stride;
};

struct SeparableFilter {
  std::int32_t plane;
  std::int32_t part;  // which template it belongs to
  float row[kHogTaps];
  float column[kHogTaps];
};

// Responses of all templates in a strip of windows, `hog_lanes` wide.
struct FilterTile {
  const float* features;  // [31][plane_stride], of the first window
  std::int64_t plane_stride;
  std::int64_t row_stride;
  std::int64_t n_rows;
  const SeparableFilter* filters;
  std::int64_t n_filters;
  float* scratch;    // [n_rows + 9 + kFaceSlack][lanes]
  float* responses;  // out: [templates][part_stride], rows of `hog_lanes`; added to
  std::int64_t part_stride;
};

struct FaceKernels {
  int hog_lanes;

  void (*split_colors)(const std::uint8_t* rgb, std::int64_t n, std::uint8_t* red,
                       std::uint8_t* green, std::uint8_t* blue);

  // Bytes base[g] + picks[g][i] of a row: eight columns and the ones after each.
  void (*spread)(const std::uint8_t* row, const std::int32_t* bases,
                 const std::uint8_t (*picks)[2 * kSpreadColumns], std::int64_t n_groups,
                 std::uint8_t* left, std::uint8_t* right);

  // Bilinear, fractions cut off; rows[] are upper left, upper right, lower left, lower right.
  void (*mix)(const std::uint8_t* const rows[4], const float* right_shares, float down, float up,
              std::int64_t n, std::uint8_t* out);

  void (*measure_gradients)(const GradientRow& row);
  void (*bin_gradients)(const GradientRow& row, const std::uint8_t* directions, float down,
                        const CellBand& band);
  void (*describe)(const CellRows& rows);
  void (*filter)(const FilterTile& tile);
};

const FaceKernels* baseline_face_kernels();
const FaceKernels* avx2_face_kernels();
const FaceKernels* avx512_face_kernels();

}  // namespace fastface
