#include "pruning.hpp"

#include <algorithm>
#include <atomic>
#include <numeric>

#include "cpu/dispatch.hpp"
#include "sweep.hpp"

namespace fastface {
namespace {

constexpr std::int64_t kRowsPerBlock = 1536;  // whole tiles of every instruction set
constexpr std::int64_t kNearlyAll =
    8;  // up to one in so many, rows are cheaper scored than left out
// A bound has to exceed the distance to the own center by this share, and by this much of the
// largest squared distance there is for unit vectors, to count: the definition is a float64
// computation itself, and bounds are rounded to float32.
constexpr double kRelativeSlack = 1e-6;
constexpr double kCosineSlack = 1e-11;
constexpr float kShrink = 1.0f - 0x1p-21f;  // more than the roundings of one update take

// Rows of a block are whole cache lines, aligned to them.
template <typename T>
void copy_lines(const T* from, std::int64_t count, T* to) {
  constexpr std::int64_t kLine = 64 / static_cast<std::int64_t>(sizeof(T));
  for (std::int64_t j = 0; j < count; j += kLine) std::memcpy(to + j, from + j, 64);
}

// The distance in which bounds are kept, which obeys the triangle inequality: Euclidean, for
// cosine between unit vectors.
double squared_length(Metric metric, double key) {
  return metric == Metric::kCosine ? 2.0 * key : key;
}

// A lower bound on the distance to all candidates whose true score is at most `score`: squares it
// and take `slope` times the score from `square` first.
struct BoundOf {
  explicit BoundOf(const LoadedRow& loaded, Metric metric) {
    if (loaded.blind) return;
    if (metric == Metric::kCosine) {
      const double length = std::sqrt(loaded.squares);
      if (length == 0.0) return;
      square = 2.0 - kCosineSlack;
      slope = 2.0 / length;
    } else {
      const double inverse = 1.0 / (loaded.scale * loaded.scale);
      square = loaded.squares * inverse;
      slope = 2.0 * inverse;
    }
  }
  double square = 0.0;  // nothing is known of a row without direction, or beyond float32
  double slope = 0.0;

  float operator()(float score) const {
    const double squared = square - slope * static_cast<double>(score);
    return static_cast<float>(std::sqrt(squared > 0.0 ? squared : 0.0)) * kShrink;
  }
};

class PrunedWorker {
 public:
  PrunedWorker(const PrunedProblem& problem, const Screen& screen, const Panels& panels,
               std::int32_t* labels, float* lower, Interrupt& interrupt)
      : problem_(problem),
        screen_(screen),
        panels_(panels),
        labels_(labels),
        lower_(lower),
        interrupt_(interrupt),
        definition_(screen.kernels(), problem.metric, problem.rows, problem.centers),
        read_row_(problem.rows),
        read_again_(problem.rows),
        read_center_(problem.centers),
        block_(screen, panels.precision(), kRowsPerBlock),
        stride_(gathered_stride()),
        values_(panels.precision() == Precision::kFloat32 ? kMaxTileRows * stride_ : 0),
        integers_(panels.precision() == Precision::kInt8 ? kMaxTileRows * stride_ : 0),
        keys_(kRowsPerBlock),
        bars_(kRowsPerBlock + kMaxTileRows),
        thresholds_(kRowsPerBlock),
        n_panels_(screen.n_panels()),
        wanted_(kRowsPerBlock) {}

  PruningStatistics operator()(std::int64_t number) {
    const std::int64_t first = number * kRowsPerBlock;
    const std::int64_t count = std::min(problem_.rows.rows - first, kRowsPerBlock);
    PruningStatistics statistics;
    numbers_.resize(static_cast<std::size_t>(count));
    std::iota(numbers_.begin(), numbers_.end(), first);
    block_.load(problem_.rows, read_row_, numbers_);
    first_ = first;
    block_.show(0, all_);
    bounds_.clear();
    std::fill(bars_.begin(), bars_.end(), kInfinity);  // rows that do not exist want nobody
    for (std::int64_t row = 0; row < count; ++row) {
      bounds_.emplace_back(block_.loaded(row), problem_.metric);
      face_own(row);
    }
    const std::int32_t tile = screen_.kernels().tile_rows;
    for (std::int64_t panel = 0; panel < n_panels_; ++panel) {
      const std::int32_t n_rows = find_wanted(panel, count);
      statistics.scored_pairs += n_rows;
      if (n_rows * kNearlyAll > count * (kNearlyAll - 1)) {
        for (std::int32_t at = 0; at < count; at += tile)
          score_standing(panel, at, static_cast<int>(std::min<std::int64_t>(tile, count - at)),
                         statistics);
      } else {
        const std::int32_t* rows = wanted_.data();
        for (std::int32_t at = 0; at < n_rows; at += tile) {
          for (std::int32_t r = at + tile; r < std::min(n_rows, at + 2 * tile); ++r)
            prefetch(rows[r]);
          score_gathered(panel, rows + at, std::min(tile, n_rows - at), statistics);
        }
      }
      if (interrupt_.stopped()) break;
    }
    return statistics;
  }

 private:
  std::int64_t gathered_stride() const {
    Int8Tile tile{};
    block_.show(0, tile);
    return tile.row_stride;
  }

  double row_norm(std::int64_t row) const {
    return problem_.metric == Metric::kCosine ? block_.loaded(row).own_norm : 0.0;
  }

  double key(std::int64_t row, std::int64_t center) {
    return definition_.key(read_again_(first_ + row), row_norm(row), read_center_(center),
                           screen_.candidate_norm(center));
  }

  // The distance to the own center, and what it sets: the bar of scores, the threshold of bounds.
  void face_own(std::int64_t row) {
    keys_[static_cast<std::size_t>(row)] = key(row, problem_.places[labels_[first_ + row]]);
    take_nearest(row);
  }

  void take_nearest(std::int64_t row) {
    const auto at = static_cast<std::size_t>(row);
    const LoadedRow& loaded = block_.loaded(row);
    bars_[at] = loaded.blind ? -kInfinity : screen_.bar_at(keys_[at], loaded);
    const double squared = squared_length(problem_.metric, keys_[at]);
    const double slack = problem_.metric == Metric::kCosine ? kCosineSlack : 0.0;
    thresholds_[at] = static_cast<float>(std::sqrt(squared * (1.0 + kRelativeSlack) + slack) *
                                         (1.0 + kRelativeSlack));
  }

  float* lower(std::int64_t panel) const { return lower_ + panel * problem_.lower_stride + first_; }

  // Lowers the bounds on a group by what its centers moved, and lists the rows that have to look.
  std::int32_t find_wanted(std::int64_t panel, std::int64_t count) {
    float* bounds = lower(panel);
    const float move = problem_.moves[panel];
    for (std::int64_t row = 0; row < count; ++row) bounds[row] = (bounds[row] - move) * kShrink;
    // Without a branch, which would be anybody's guess.
    std::int32_t n_rows = 0;
    for (std::int64_t row = 0; row < count; ++row) {
      wanted_[static_cast<std::size_t>(n_rows)] = static_cast<std::int32_t>(row);
      n_rows += !(bounds[row] > thresholds_[static_cast<std::size_t>(row)]);
    }
    return n_rows;
  }

  void prefetch(std::int64_t row) const {
    const bool integers = panels_.precision() == Precision::kInt8;
    const auto* values = integers ? reinterpret_cast<const char*>(all_.int8_rows + row * stride_)
                                  : reinterpret_cast<const char*>(all_.rows + row * stride_);
    const std::int64_t bytes = screen_.padded_dim() * (integers ? 1 : 4);
    for (std::int64_t byte = 0; byte < bytes; byte += 64) __builtin_prefetch(values + byte);
  }

  // What a tile writes.
  struct Found {
    alignas(64) float scores[kMaxTileRows * kMaxPanelWidth];
    std::uint32_t survivors[kMaxTileRows];
    float best[kMaxTileRows];
  };

  std::uint32_t run(std::int64_t panel, Int8Tile& tile, Found& found) const {
    panels_.show(panel, tile);
    tile.dim = screen_.padded_dim();
    tile.scores = found.scores;
    tile.survivors = found.survivors;
    tile.best = found.best;
    return panels_.precision() == Precision::kInt8
               ? screen_.kernels().score_tile_int8_bounding(tile)
               : screen_.kernels().score_tile_bounding(tile);
  }

  // Scores rows where they stand.
  void score_standing(std::int64_t panel, std::int64_t row, int count,
                      PruningStatistics& statistics) {
    Found found;
    Int8Tile tile{};
    block_.show(row, tile);
    tile.bars = bars_.data() + row;
    const std::uint32_t reached = run(panel, tile, found);
    for (int r = 0; r < count; ++r) take_in(panel, row + r, r, tile, found, reached, statistics);
  }

  // Scores some rows, brought together.
  void score_gathered(std::int64_t panel, const std::int32_t* rows, int count,
                      PruningStatistics& statistics) {
    const bool integers = panels_.precision() == Precision::kInt8;
    const std::int64_t dim = screen_.padded_dim();
    Found found;
    float norms[kMaxTileRows] = {}, slacks[kMaxTileRows] = {}, bars[kMaxTileRows];
    float residuals[kMaxTileRows] = {}, scales[kMaxTileRows] = {};
    std::int32_t offsets[kMaxTileRows] = {};
    for (int r = 0; r < count; ++r) {
      const std::int64_t row = rows[r];
      norms[r] = all_.norms[row];
      bars[r] = bars_[static_cast<std::size_t>(row)];
      if (integers) {
        copy_lines(all_.int8_rows + row * stride_, dim, integers_.get() + r * stride_);
        residuals[r] = all_.residuals[row];
        scales[r] = all_.row_scales[row];
        offsets[r] = all_.row_offsets[row];
      } else {
        copy_lines(all_.rows + row * stride_, dim, values_.get() + r * stride_);
      }
    }
    std::fill(bars + count, bars + kMaxTileRows, kInfinity);
    Int8Tile tile{};
    tile.norms = norms;
    tile.slacks = slacks;
    tile.bars = bars;
    tile.row_stride = stride_;
    tile.rows = values_.get();
    tile.int8_rows = integers_.get();
    tile.residuals = residuals;
    tile.row_scales = scales;
    tile.row_offsets = offsets;
    const std::uint32_t reached = run(panel, tile, found);
    for (int r = 0; r < count; ++r) take_in(panel, rows[r], r, tile, found, reached, statistics);
  }

  // Brings the bound of one row up to date, and decides those of the group that may be nearer.
  void take_in(std::int64_t panel, std::int64_t row, int r, const Int8Tile& tile,
               const Found& found, std::uint32_t reached, PruningStatistics& statistics) {
    const int width = screen_.kernels().panel_width;
    const float rounded =
        panels_.precision() == Precision::kInt8 ? tile.residuals[r] * tile.reach : 0.0f;
    const float error = tile.norms[r] * tile.slope + tile.offset + rounded;
    lower(panel)[row] = bounds_[static_cast<std::size_t>(row)](found.best[r] + error);
    if ((reached >> r & 1) == 0) return;
    for (std::uint32_t mask = found.survivors[r]; mask != 0; mask &= mask - 1) {
      const int lane = __builtin_ctz(mask);
      const std::int64_t center = panel * width + lane;
      if (center >= problem_.centers.rows) continue;
      // The bar may have been raised since.
      if (found.scores[r * width + lane] + error < bars_[static_cast<std::size_t>(row)]) continue;
      decide(row, center, statistics);
    }
  }

  void decide(std::int64_t row, std::int64_t center, PruningStatistics& statistics) {
    std::int32_t& label = labels_[first_ + row];
    const std::int32_t name = problem_.names[center];
    if (name == label) return;
    ++statistics.decided_pairs;
    double& nearest = keys_[static_cast<std::size_t>(row)];
    const double candidate = key(row, center);
    if (candidate > nearest || (candidate == nearest && name > label)) return;
    nearest = candidate;
    label = name;
    take_nearest(row);
  }

  const PrunedProblem& problem_;
  const Screen& screen_;
  const Panels& panels_;
  std::int32_t* labels_;
  float* lower_;
  Interrupt& interrupt_;
  Definition definition_;
  RowReader read_row_;
  RowReader read_again_;
  RowReader read_center_;
  Block block_;
  std::int64_t stride_;
  Aligned<float> values_;
  Aligned<std::int8_t> integers_;
  std::int64_t first_ = 0;
  std::vector<std::int64_t> numbers_;
  std::vector<double> keys_;
  std::vector<float> bars_;
  std::vector<float> thresholds_;
  std::vector<BoundOf> bounds_;
  Int8Tile all_{};  // the whole block
  std::int64_t n_panels_;
  std::vector<std::int32_t> wanted_;
};

}  // namespace

int group_size() { return active_kernels().panel_width; }

PruningStatistics assign_pruned(const PrunedProblem& problem, std::int32_t* labels, float* lower,
                                Interrupt& interrupt) {
  const KernelTable& kernels = active_kernels();
  const Screen screen(kernels, problem.metric, problem.centers, problem.n_threads, interrupt);
  const bool integers = kernels.round_to_int8 != nullptr && screen.rounds_well();
  const Panels panels = Panels::all(screen, integers ? Precision::kInt8 : Precision::kFloat32,
                                    problem.n_threads, interrupt);
  std::atomic<std::int64_t> scored{0};
  std::atomic<std::int64_t> decided{0};
  const std::int64_t n_blocks = (problem.rows.rows + kRowsPerBlock - 1) / kRowsPerBlock;
  parallel_for(n_blocks, problem.n_threads, interrupt, [&]() -> Worker {
    return [&, worker = std::make_shared<PrunedWorker>(problem, screen, panels, labels, lower,
                                                       interrupt)](std::int64_t block) {
      const PruningStatistics statistics = (*worker)(block);
      scored += statistics.scored_pairs;
      decided += statistics.decided_pairs;
    };
  });
  return {scored, decided};
}

}  // namespace fastface
