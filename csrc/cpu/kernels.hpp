// The table of kernels that every instruction set fills in once.
//
// Kernels work on raw pointers: no Python, no allocation, no threads, no exceptions.
#pragma once

#include <cstdint>

#include "cpu/face_kernels.hpp"

namespace fastface {

struct Half {
  std::uint16_t bits;
};

enum Storage : int { kFloat16, kFloat32, kFloat64 };
constexpr int kStorages = 3;

enum class Metric : int { kSquaredEuclidean, kEuclidean, kCosine, kInnerProduct };
constexpr int kMetrics = 4;

// Widest tile of any instruction set, so that callers can keep scratch on the stack.
constexpr int kMaxTileRows = 12;
constexpr int kMaxPanelWidth = 32;

// Features of packed operands are padded with zeros to a multiple of this.
constexpr std::int64_t kDimStep = 4;

// Rows of 8-bit integers that are read one by one are padded with zeros to a multiple of this.
constexpr std::int64_t kCodeStep = 64;

// Number of interleaved partial sums in the definition of a distance (see exact_sums.hpp).
constexpr int kSumLanes = 16;

// One tile of scores <row, candidate> - bias, where the higher is the nearer.
//
// The score of row r is off by at most norms[r] * slope + residuals[r] * reach + offset.  bars[r]
// is a value that a true score has to reach to matter; candidates that provably miss it are
// dropped.
struct ScoreTile {
  std::int64_t dim;          // a multiple of kDimStep
  const float* biases;       // [panel_width]
  const float* norms;        // [tile_rows], of the rows
  const float* slacks;       // [tile_rows], how far below a proven score its bar stands
  float* bars;               // [tile_rows]
  float slope;               // of the error, for this panel
  float offset;              // likewise
  float* scores;             // out: [tile_rows][panel_width], if anybody survived
  std::uint32_t* survivors;  // out: bit c of survivors[r]: candidate c may matter to row r

  const float* rows;        // [tile_rows][row_stride]
  std::int64_t row_stride;  // in values
  const float* panel;       // [dim][panel_width], 64-byte aligned
};

// The same on operands rounded to 8-bit integers: a row is row_scales[r] * int8, a candidate
// column_scales[c] * (uint8 - 128).
struct Int8Tile : ScoreTile {
  const float* residuals;           // [tile_rows], norms of what rounding the rows lost
  float reach;                      // largest norm of a candidate
  const std::int8_t* int8_rows;     // [tile_rows][row_stride]
  const std::uint8_t* int8_panel;   // [dim / 4][panel_width][4], 64-byte aligned
  const float* row_scales;          // [tile_rows]
  const std::int32_t* row_offsets;  // [tile_rows], 128 times the sum of the row's integers
  const float* column_scales;       // [panel_width]
};

// What bounds know of a row.
struct alignas(16) RowRecord {
  float scale;     // row = scale * integers + residual
  float norm;      // rounded up
  float residual;  // norm of what rounding to integers lost, rounded up
  float bar;       // a true score below it does not matter
};

// One group of centers against some rows, wherever those stand: the scores as in ScoreTile, and an
// upper bound of each row's best.  In integers a row is scale * (uint8 - 128), a center
// column_scales[c] * int8.
struct GroupTile {
  std::int64_t dim;               // a multiple of kGroupDimStep
  const void* const* rows;        // [group_rows], float32 or uint8
  const RowRecord* records;       // [group_rows]
  const float* panel;             // [dim][group_width]
  const std::int8_t* int8_panel;  // or [dim / 4][group_width][4]
  const float* biases;            // [group_width]
  const float* column_scales;     // [group_width]
  const std::int32_t* starts;     // [group_width], -128 times the sum of the center's integers
  float slope;                    // a score is off by at most norm * slope + residual * reach +
  float reach;                    // offset
  float offset;
  float* uppers;             // out: [group_rows], bounds of the best score
  float* scores;             // out: [group_rows][group_width], of rows that reached the bar
  std::uint32_t* survivors;  // out: bit c of survivors[r]: center c may matter to row r
};
constexpr int kMaxGroupRows = 16;
constexpr int kMaxGroupWidth = 16;
constexpr std::int64_t kGroupDimStep = 8;

// How far up the bounds of a row go when centers move, and what it holds them to.
struct RowLift {
  std::int64_t n_groups;
  const float* moves;    // [n_groups], times the radius
  const float* offsets;  // [n_groups], and this
  float radius;
  float bar;
  float* uppers;  // in and out: [n_groups]
};

// Which rows of a block want to look at which groups.
struct WantedRows {
  std::int64_t count;        // of rows
  const char* needs;         // [count], zero for rows that want none
  const RowRecord* records;  // [count]
  std::int64_t n_groups;
  const float* uppers;  // [count][n_groups]
  std::int64_t capacity;
  std::uint16_t* rows;   // out: [n_groups][capacity], in order; capacity >= count + kMaxGroupRows
  std::int32_t* n_rows;  // out: [n_groups]
};

// A bar has to stand this much below the score it comes from, relative to that score, to cover the
// roundings of float32 that compute and compare it (docs/exactness.md).
constexpr float kBarSlack = 1e-6f;

// One tile of distances in a fixed order of float32 operations, written where it belongs.
struct DistanceTile {
  const float* rows;
  std::int64_t row_stride;
  const float* panel;
  std::int64_t dim;
  const float* row_terms;     // squared norms for the Euclidean metrics
  const float* column_terms;  // likewise
  int n_rows;                 // of the tile that exist
  int n_columns;
  float* out;
  std::int64_t out_stride;
  std::uint32_t* doubtful;  // out: bit c of doubtful[r]: float32 is not good enough there
};

// Below these, cancellation has cost a float32 distance too many digits (docs/exactness.md).
constexpr float kDoubtfulSquaredShare = 0.0625f;  // of the sum of the two squared norms
constexpr float kDoubtfulCosine = 0.015625f;
constexpr float kDoubtfulTiny = 1e-30f;  // squared distances near the end of float32's range
constexpr float kDoubtfulHuge = 1e37f;

// A row rounded to 8-bit integers.
struct Int8Row {
  float scale;          // row = scale * integers + residual
  float residual;       // norm of the residual, rounded up
  std::int32_t offset;  // 128 times the sum of the integers
};

struct KernelTable {
  const char* name;
  int tile_rows;
  int panel_width;

  // Scores a tile and returns which of its rows have survivors, a bit each.
  std::uint32_t (*score_tile)(const ScoreTile& tile);
  // The same for the single nearest candidate: raises the bars to what this tile proves.
  std::uint32_t (*score_tile_raising)(const ScoreTile& tile);
  // The same with a single row: tile.rows has one row, the per-row arrays one entry.
  std::uint32_t (*score_row)(const ScoreTile& tile);

  // On 8-bit integers; null where that is not faster.
  std::uint32_t (*score_tile_int8)(const Int8Tile& tile);
  std::uint32_t (*score_tile_int8_raising)(const Int8Tile& tile);
  Int8Row (*round_to_int8)(const float* row, std::int64_t padded_dim, std::int8_t* out);

  // Groups of centers: scores a tile, and returns which of its rows reached their bar, a bit each.
  int group_rows;
  int group_width;
  std::uint32_t (*score_group)(const GroupTile& tile);
  std::uint32_t (*score_group_int8)(const GroupTile& tile);  // null where that is not faster
  // Lifts the bounds of a row, and returns whether any is not below its bar.
  bool (*lift_row)(const RowLift& lift);
  // Lists, for every group, the rows whose bound of it is not below their bar.
  void (*list_wanted)(const WantedRows& wanted);
  // out[i] = <query, row index[i]> on rows of `stride` integers, a multiple of kCodeStep.
  void (*code_dots)(const std::int8_t* query, const std::int8_t* rows, std::int64_t stride,
                    const std::int32_t* index, std::int64_t count, std::int32_t* out);

  void (*distance_tile[kMetrics])(const DistanceTile& tile);

  // out[j] = (x[j] - shift[j]) * scale computed in float64 and rounded to float32, zero up to
  // padded_dim; returns the float64 sum of squares before that rounding.
  double (*load_row[kStorages])(const void* x, const double* shift, double scale, std::int64_t dim,
                                std::int64_t padded_dim, float* out);

  // The definitions, by the storage of x and of y: float64 sums in a fixed order, equal to the bit
  // in every instruction set.
  double (*dot[kStorages][kStorages])(const void* x, const void* y, std::int64_t dim);
  double (*squared_distance[kStorages][kStorages])(const void* x, const void* y, std::int64_t dim);

  const FaceKernels* faces;
};

const KernelTable* baseline_kernels();
const KernelTable* avx2_kernels();         // null where the compiler's target is not x86-64
const KernelTable* avx512_kernels();       // likewise
const KernelTable* avx512_vnni_kernels();  // likewise

}  // namespace fastface
