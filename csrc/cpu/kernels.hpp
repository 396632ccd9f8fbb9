// The table of kernels that every instruction set fills in once.
//
// Kernels work on raw pointers: no Python, no allocation, no threads, no exceptions.
#pragma once

#include <cstdint>

namespace fastface {

// Widest tile of any instruction set, so that callers can keep scratch on the stack.
constexpr int kMaxTileRows = 12;
constexpr int kMaxPanelWidth = 32;

// Number of interleaved partial sums in the definition of a distance (see exact_sums.hpp).
constexpr int kSumLanes = 16;

struct KernelTable {
  const char* name;
  int tile_rows;    // rows scored by one call of score_tile
  int panel_width;  // candidates scored by one call of score_tile, at most 32

  // scores[r][c] = <row r, candidate c> - bias[c] in float32, and bit c of survivors[r] says
  // whether scores[r][c] >= thresholds[r].  `rows` is packed [dim][tile_rows], `panel` is packed
  // [dim][panel_width], `scores` has a row stride of panel_width.
  void (*score_tile)(const float* rows, const float* panel, const float* bias, std::int64_t dim,
                     const float* thresholds, float* scores, std::uint32_t* survivors);

  // The definitions: float64 sums in a fixed order, equal to the bit in every instruction set.
  double (*dot_f32)(const float* x, const float* y, std::int64_t dim);
  double (*dot_f64)(const double* x, const double* y, std::int64_t dim);
  double (*squared_distance_f32)(const float* x, const float* y, std::int64_t dim);
  double (*squared_distance_f64)(const double* x, const double* y, std::int64_t dim);
};

const KernelTable* baseline_kernels();
const KernelTable* avx2_kernels();    // null where the compiler's target is not x86-64
const KernelTable* avx512_kernels();  // likewise

}  // namespace fastface
