#include "pruning.hpp"

#include <algorithm>
#include <atomic>
#include <numeric>

#include "cpu/dispatch.hpp"
#include "sweep.hpp"

namespace fastface {
namespace {

constexpr std::int64_t kRowsPerBlock = 1536;
// A bound has to exceed the distance to the own center by this share, and by this much of the
// largest squared distance there is for unit vectors, to count: the definition is a float64
// computation itself, and bounds are rounded to float32.
constexpr double kRelativeSlack = 1e-6;
constexpr double kCosineSlack = 1e-11;
constexpr float kShrink = 1.0f - 0x1p-21f;  // more than the roundings of one update take

// The distance in which bounds are kept, which obeys the triangle inequality: Euclidean, for
// cosine between unit vectors.
double squared_length(Metric metric, double key) {
  return metric == Metric::kCosine ? 2.0 * key : key;
}

// A lower bound on the distance of a row to all candidates whose true score is at most `score`.
float distance_below(const LoadedRow& loaded, Metric metric, float score) {
  if (loaded.blind) return 0.0f;
  double squared;
  if (metric == Metric::kCosine) {
    const double length = std::sqrt(loaded.squares);
    squared = length > 0.0 ? 2.0 - 2.0 * static_cast<double>(score) / length - kCosineSlack : 0.0;
  } else {
    squared = (loaded.squares - 2.0 * static_cast<double>(score)) / (loaded.scale * loaded.scale);
  }
  return squared > 0.0 ? static_cast<float>(std::sqrt(squared)) * kShrink : 0.0f;
}

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
        bars_(kRowsPerBlock),
        wanted_(static_cast<std::size_t>(screen.n_panels())) {}

  PruningStatistics operator()(std::int64_t number) {
    const std::int64_t first = number * kRowsPerBlock;
    const std::int64_t count = std::min(problem_.rows.rows - first, kRowsPerBlock);
    PruningStatistics statistics;
    numbers_.resize(static_cast<std::size_t>(count));
    std::iota(numbers_.begin(), numbers_.end(), first);
    block_.load(problem_.rows, read_row_, numbers_);
    first_ = first;
    for (auto& rows : wanted_) rows.clear();
    for (std::int64_t row = 0; row < count; ++row) {
      face_own(row);
      find_wanted(row);
    }
    for (std::int64_t panel = 0; panel < screen_.n_panels(); ++panel) {
      const auto& rows = wanted_[static_cast<std::size_t>(panel)];
      for (std::size_t at = 0; at < rows.size(); at += tile_rows()) {
        const std::size_t some = std::min(tile_rows(), rows.size() - at);
        score(panel, rows.data() + at, some, statistics);
      }
      statistics.scored_pairs += static_cast<std::int64_t>(rows.size());
      if (interrupt_.stopped()) break;
    }
    return statistics;
  }

 private:
  std::size_t tile_rows() const { return static_cast<std::size_t>(screen_.kernels().tile_rows); }

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

  // The distance to the own center, and the bar it sets.
  void face_own(std::int64_t row) {
    const auto at = static_cast<std::size_t>(row);
    keys_[at] = key(row, problem_.places[labels_[first_ + row]]);
    bars_[at] = block_.loaded(row).blind ? -kInfinity
                                         : screen_.bar_at(keys_[at], block_.loaded(row));
  }

  // Lowers the bounds of a row by what the centers moved, and notes the groups it has to look at.
  void find_wanted(std::int64_t row) {
    const double squared = squared_length(problem_.metric, keys_[static_cast<std::size_t>(row)]);
    const double slack = problem_.metric == Metric::kCosine ? kCosineSlack : 0.0;
    const auto threshold = static_cast<float>(
        std::sqrt(squared * (1.0 + kRelativeSlack) + slack) * (1.0 + kRelativeSlack));
    float* bounds = lower_ + (first_ + row) * screen_.n_panels();
    for (std::int64_t panel = 0; panel < screen_.n_panels(); ++panel)
      bounds[panel] = (bounds[panel] - problem_.moves[panel]) * kShrink;
    for (std::int64_t panel = 0; panel < screen_.n_panels(); ++panel)
      if (!(bounds[panel] > threshold))
        wanted_[static_cast<std::size_t>(panel)].push_back(static_cast<std::int32_t>(row));
  }

  void score(std::int64_t panel, const std::int32_t* rows, std::size_t count,
             PruningStatistics& statistics) {
    const KernelTable& kernels = screen_.kernels();
    const bool integers = panels_.precision() == Precision::kInt8;
    const int width = kernels.panel_width;
    alignas(64) float scores[kMaxTileRows * kMaxPanelWidth];
    std::uint32_t survivors[kMaxTileRows];
    float best[kMaxTileRows];
    float norms[kMaxTileRows] = {}, slacks[kMaxTileRows] = {}, bars[kMaxTileRows];
    float residuals[kMaxTileRows] = {}, scales[kMaxTileRows] = {};
    std::int32_t offsets[kMaxTileRows] = {};
    Int8Tile tile{};
    const std::int64_t bytes = screen_.padded_dim() * (integers ? 1 : 4);
    for (std::size_t r = 0; r < count; ++r) {
      block_.show(rows[r], tile);
      norms[r] = tile.norms[0];
      if (integers) {
        std::memcpy(integers_.get() + static_cast<std::int64_t>(r) * stride_, tile.int8_rows,
                    static_cast<std::size_t>(bytes));
        residuals[r] = tile.residuals[0];
        scales[r] = tile.row_scales[0];
        offsets[r] = tile.row_offsets[0];
      } else {
        std::memcpy(values_.get() + static_cast<std::int64_t>(r) * stride_, tile.rows,
                    static_cast<std::size_t>(bytes));
      }
    }
    for (std::size_t r = 0; r < count; ++r) bars[r] = bars_[static_cast<std::size_t>(rows[r])];
    std::fill(bars + count, bars + kMaxTileRows, kInfinity);
    panels_.show(panel, tile);
    tile.dim = screen_.padded_dim();
    tile.norms = norms;
    tile.slacks = slacks;
    tile.bars = bars;
    tile.scores = scores;
    tile.survivors = survivors;
    tile.best = best;
    tile.row_stride = stride_;
    tile.rows = values_.get();
    tile.int8_rows = integers_.get();
    tile.residuals = residuals;
    tile.row_scales = scales;
    tile.row_offsets = offsets;
    const std::uint32_t reached =
        integers ? kernels.score_tile_int8_bounding(tile) : kernels.score_tile_bounding(tile);

    const std::int64_t base = panel * width;
    for (std::size_t r = 0; r < count; ++r) {
      const std::int64_t row = rows[r];
      const float error = tile.norms[r] * tile.slope + tile.offset + residuals[r] * tile.reach;
      lower_[(first_ + row) * screen_.n_panels() + panel] =
          distance_below(block_.loaded(row), problem_.metric, best[r] + error);
      if ((reached >> r & 1) == 0) continue;
      for (std::uint32_t mask = survivors[r]; mask != 0; mask &= mask - 1) {
        const int lane = __builtin_ctz(mask);
        float& bar = bars_[static_cast<std::size_t>(row)];
        if (base + lane >= problem_.centers.rows) continue;
        if (scores[static_cast<int>(r) * width + lane] + error < bar) continue;  // raised since
        decide(row, base + lane, bar, statistics);
      }
    }
  }

  void decide(std::int64_t row, std::int64_t center, float& bar, PruningStatistics& statistics) {
    std::int32_t& label = labels_[first_ + row];
    const std::int32_t name = problem_.names[center];
    if (name == label) return;
    ++statistics.decided_pairs;
    double& nearest = keys_[static_cast<std::size_t>(row)];
    const double candidate = key(row, center);
    if (candidate > nearest || (candidate == nearest && name > label)) return;
    nearest = candidate;
    label = name;
    if (!block_.loaded(row).blind) bar = screen_.bar_at(nearest, block_.loaded(row));
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
  std::vector<std::vector<std::int32_t>> wanted_;
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
