#include "lifts.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

namespace fastface {
namespace {

constexpr double kRounding = 1.0 + 0x1p-20;  // many times what rounding to float32 takes
constexpr double kTableSlack = 0x1p-21;      // of float32 operands, terms and results
constexpr double kFarthest = 1e30;           // from its pivot, of rows without a bar

Matrix as_rows(const std::vector<float>& values, std::int64_t rows, std::int64_t dim) {
  return {reinterpret_cast<const char*>(values.data()), kFloat32, rows, dim, 4 * dim, 4};
}

}  // namespace

float Lifts::radius(const Screen& screen, bool from_centers, float norm, float bar) {
  const double wide = norm;
  if (!from_centers) return static_cast<float>(wide * kRounding + kUnderflow);
  // |a - p|^2 = |a|^2 + |p|^2 - 2 <a, p>, and the score of the own center is <a, p> - |p|^2 / 2.
  const double pivot = screen.is_euclidean() ? 0.0 : 1.0;
  const double square = wide * wide + pivot - 2.0 * static_cast<double>(bar);
  const double doubt = 0x1p-50 * (wide * wide + pivot + 2.0 * std::abs(static_cast<double>(bar)));
  const double radius = std::sqrt(std::max(0.0, square) + doubt);
  return static_cast<float>(std::min(radius, kFarthest) * kRounding + kUnderflow);
}

// Some pivots as the rows of a tile: centers where they were before they moved.
class Lifts::PivotTile {
 public:
  PivotTile(const Screen& screen, const GroupPanels& panels, const std::vector<float>& deltas)
      : screen_(screen),
        panels_(panels),
        deltas_(deltas),
        integers_(panels.precision() == Precision::kInt8),
        read_(screen.candidates()),
        values_(kMaxGroupRows * panels.padded_dim()),
        bytes_(static_cast<std::size_t>(kMaxGroupRows * panels.padded_dim())),
        rounded_(static_cast<std::size_t>(panels.padded_dim() + 16)) {}

  void load(std::int64_t first, std::int64_t count) {
    const std::int64_t dim = panels_.padded_dim();
    for (std::int64_t r = 0; r < kMaxGroupRows; ++r) {
      const std::int64_t center = first + std::min(r, count - 1);  // the last one stands in
      float* values = values_.get() + r * dim;
      std::fill(values, values + dim, 0.0f);
      screen_.load_candidate(center, read_(center), values);
      const std::int64_t n_features = screen_.candidates().dim;
      double squares = 0.0;
      for (std::int64_t j = 0; j < n_features; ++j) {
        values[j] -= deltas_[static_cast<std::size_t>(center * n_features + j)];
        squares += static_cast<double>(values[j]) * static_cast<double>(values[j]);
      }
      RowRecord& record = records_[r];
      record = {0.0f, round_up_to_float(std::sqrt(squares)), 0.0f, kInfinity};
      addresses_[r] = values;
      if (!integers_) continue;
      std::uint8_t* bytes = bytes_.data() + r * dim;
      round_row(screen_.kernels(), values, dim, rounded_.data(), bytes, record);
      addresses_[r] = bytes;
    }
  }

  // Upper bounds of the best of a group, by row.
  const float* score(std::int64_t group) {
    GroupTile tile{};
    panels_.show(group, tile);
    tile.rows = addresses_;
    tile.records = records_;
    tile.uppers = uppers_;
    tile.scores = scores_;
    tile.survivors = survivors_;
    const KernelTable& kernels = screen_.kernels();
    (integers_ ? kernels.score_group_int8 : kernels.score_group)(tile);
    return uppers_;
  }

 private:
  const Screen& screen_;
  const GroupPanels& panels_;
  const std::vector<float>& deltas_;
  bool integers_;
  RowReader read_;
  Aligned<float> values_;
  std::vector<std::uint8_t> bytes_;
  std::vector<std::int8_t> rounded_;
  const void* addresses_[kMaxGroupRows];
  RowRecord records_[kMaxGroupRows];
  alignas(64) float uppers_[kMaxGroupRows];
  alignas(64) float scores_[kMaxGroupRows * kMaxGroupWidth];
  std::uint32_t survivors_[kMaxGroupRows];
};

Lifts::Lifts(const Screen& screen, const GroupPanels& panels, const CenterMoves& moves,
             float least_radius, int n_threads, Interrupt& interrupt)
    : n_groups_(panels.n_groups()),
      from_centers_(!moves.deltas.empty()),
      least_radius_(least_radius) {
  const std::int64_t n_centers = screen.candidates().rows;
  const std::int64_t width = screen.kernels().group_width;
  const std::int64_t n_pivots = from_centers_ ? n_centers : 1;
  moves_.assign(static_cast<std::size_t>(n_groups_), 0.0f);
  offsets_.assign(static_cast<std::size_t>(n_pivots * n_groups_), 0.0f);
  // What a center adds at the least radius, but for what depends on the pivot.
  std::vector<double> terms(static_cast<std::size_t>(n_centers));
  for (std::int64_t group = 0; group < n_groups_; ++group) {
    const auto begin = static_cast<std::size_t>(group * width);
    const auto end = static_cast<std::size_t>(std::min((group + 1) * width, n_centers));
    const double farthest =
        *std::max_element(moves.moves.begin() + static_cast<std::ptrdiff_t>(begin),
                          moves.moves.begin() + static_cast<std::ptrdiff_t>(end));
    if (farthest == 0.0) continue;  // nobody moved
    double most = -kInfiniteDouble;
    for (std::size_t c = begin; c < end; ++c) {
      terms[c] = static_cast<double>(least_radius) * (moves.moves[c] - farthest) + moves.gains[c];
      most = std::max(most, terms[c]);
    }
    moves_[static_cast<std::size_t>(group)] = static_cast<float>(farthest * kRounding + kUnderflow);
    if (!from_centers_) offsets_[static_cast<std::size_t>(group)] = round_up_to_float(most);
  }
  if (from_centers_) look_from_centers(screen, panels, moves, terms, n_threads, interrupt);
}

// Tiles find the best of <p, d> - D in every group: moves stand for centers, and centers for rows.
void Lifts::look_from_centers(const Screen& screen, const GroupPanels& panels,
                              const CenterMoves& moves, const std::vector<double>& terms,
                              int n_threads, Interrupt& interrupt) {
  const KernelTable& kernels = screen.kernels();
  const std::int64_t n_centers = screen.candidates().rows;
  const Screen moves_screen(kernels, Metric::kInnerProduct,
                            as_rows(moves.deltas, n_centers, screen.candidates().dim), n_threads,
                            interrupt);
  const double scale = moves_screen.scale();
  std::vector<double> biases(terms.size());
  for (std::size_t c = 0; c < terms.size(); ++c) biases[c] = -terms[c] * scale;
  const GroupPanels packed(moves_screen, panels.precision(), n_threads, interrupt, &biases);

  double norm = screen.is_euclidean() ? 0.0 : 1.0;
  for (std::int64_t c = 0; c < n_centers && screen.is_euclidean(); ++c)
    norm = std::max(norm, std::sqrt(2.0 * panels.half_squares(c)));
  double far = 0.0;
  for (const double move : moves.moves) far = std::max(far, move);
  norm += far;  // of the pivots
  double largest_term = 0.0;
  for (const double term : terms) largest_term = std::max(largest_term, std::abs(term));
  const double features = static_cast<double>(screen.candidates().dim + 16);
  const double slack = kTableSlack * (norm * far + largest_term) +
                       (screen.is_euclidean() ? 0.0 : kCosineSlack * features) + kUnderflow;

  const int tile_rows = kernels.group_rows;
  const std::int64_t n_blocks = (n_centers + tile_rows - 1) / tile_rows;
  parallel_for(n_blocks, n_threads, interrupt, [&]() -> Worker {
    return
        [&, tile = std::make_shared<PivotTile>(screen, packed, moves.deltas)](std::int64_t block) {
          const std::int64_t first = block * tile_rows;
          const std::int64_t count = std::min<std::int64_t>(tile_rows, n_centers - first);
          tile->load(first, count);
          for (std::int64_t group = 0; group < n_groups_; ++group) {
            if (moves_[static_cast<std::size_t>(group)] == 0.0f) continue;
            const float* best = tile->score(group);
            for (std::int64_t r = 0; r < count; ++r)
              offsets_[static_cast<std::size_t>((first + r) * n_groups_ + group)] =
                  round_up_to_float(static_cast<double>(best[r]) / scale + slack);
          }
        };
  });
}

}  // namespace fastface
