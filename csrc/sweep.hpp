// What both searches share: how a call is cut into blocks, the sweep of a block over all panels,
// and the judge of one row.
#pragma once

#include <algorithm>
#include <numeric>
#include <optional>

#include "search.hpp"

namespace fastface {

constexpr std::int64_t kFewQueries = 8;  // fewer are not worth packing the candidates for

// How one call uses its threads and its memory.
struct Plan {
  Plan(const SearchProblem& problem, const Screen& screen, std::int64_t sink_bytes_per_row);

  std::int64_t n_blocks() const { return (n_queries + block_rows - 1) / block_rows; }

  std::int64_t n_queries;
  int n_threads;
  Precision precision;      // of the first attempt
  bool shared_panels;       // packed once for all threads, or by each thread run by run
  std::int64_t block_rows;  // queries of a block
  std::int64_t run_panels;  // panels that a thread packs at a time
};

// Panels that all threads of a call read: prepared ones, or packed when it begins.
class SharedPanels {
 public:
  SharedPanels(const SearchProblem& problem, const Screen& screen, const Plan& plan,
               Interrupt& interrupt);

  // Null where each thread packs its own, run by run.
  const Panels* of(Precision precision) const;

 private:
  const Prepared* prepared_;
  std::optional<Panels> packed_;
};

// Some query rows in the form tiles read.
class Block {
 public:
  Block(const Screen& screen, Precision precision, std::int64_t capacity);

  // Reads the queries with these numbers; false where they do not bear rounding to integers.
  bool load(const Matrix& queries, RowReader& read, const std::vector<std::int64_t>& numbers);

  std::int64_t count() const { return count_; }
  Precision precision() const { return precision_; }
  const LoadedRow& loaded(std::int64_t row) const { return loaded_[static_cast<std::size_t>(row)]; }
  const float* slacks() const { return slacks_.data(); }

  // Lets a tile read the rows from `row` on.
  void show(std::int64_t row, Int8Tile& tile) const;

 private:
  const Screen& screen_;
  Precision precision_;
  std::int64_t row_stride_;
  std::int64_t count_ = 0;
  Aligned<float> values_;
  Aligned<std::int8_t> integers_;
  std::vector<float> scratch_;
  std::vector<LoadedRow> loaded_;
  std::vector<float> norms_, slacks_, residuals_, scales_;
  std::vector<std::int32_t> offsets_;
};

// The panels of a screen, one after the other, wherever they come from.
class PanelRun {
 public:
  PanelRun(const Screen& screen, const Panels* shared, Precision precision,
           std::int64_t run_panels);

  std::int64_t n_panels() const { return screen_.n_panels(); }
  void show(std::int64_t panel, Int8Tile& tile);

 private:
  const Screen& screen_;
  const Panels* shared_;
  std::optional<Panels> own_;
  std::optional<Packer> packer_;
  std::int64_t run_panels_;
  std::int64_t first_ = 0;  // panel in the first slot of own_
  std::int64_t packed_ = 0;
};

// Scores a block against every candidate and hands survivors to `sink`, which owns the bars:
// sink.bars() is one float a row and one for each row of the last tile that does not exist;
// sink.add(row, score, error, index) may raise them.  `numbers` are those of the queries.
template <typename Sink>
bool sweep(const SearchProblem& problem, const Screen& screen, const Block& block,
           const std::vector<std::int64_t>& numbers, PanelRun& panels, Sink& sink,
           Interrupt& interrupt) {
  const KernelTable& kernels = screen.kernels();
  const bool raising = Sink::kRaising && !problem.exclude_self;
  const bool integers = block.precision() == Precision::kInt8;
  const bool single = block.count() == 1 && !integers;
  const auto float_kernel = single    ? kernels.score_row
                            : raising ? kernels.score_tile_raising
                                      : kernels.score_tile;
  const auto integer_kernel = raising ? kernels.score_tile_int8_raising : kernels.score_tile_int8;
  const int width = kernels.panel_width;
  const std::int64_t n_rows = block.count();
  const int step = single ? 1 : kernels.tile_rows;

  alignas(64) float scores[kMaxTileRows * kMaxPanelWidth];
  std::uint32_t survivors[kMaxTileRows];
  Int8Tile tile{};
  tile.dim = screen.padded_dim();
  tile.scores = scores;
  tile.survivors = survivors;
  for (std::int64_t panel = 0; panel < panels.n_panels(); ++panel) {
    panels.show(panel, tile);
    const std::int64_t base = panel * width;
    for (std::int64_t first = 0; first < n_rows; first += step) {
      block.show(first, tile);
      tile.bars = sink.bars() + first;
      const std::uint32_t reached = integers ? integer_kernel(tile) : float_kernel(tile);
      for (std::uint32_t rows = reached; rows != 0; rows &= rows - 1) {
        const int r = __builtin_ctz(rows);
        if (first + r >= n_rows) break;
        const float error = tile.norms[r] * tile.slope + tile.offset +
                            (integers ? tile.residuals[r] * tile.reach : 0.0f);
        for (std::uint32_t mask = survivors[r]; mask != 0; mask &= mask - 1) {
          const int lane = __builtin_ctz(mask);
          const std::int64_t index = base + lane;
          if (index >= screen.candidates().rows) break;
          if (problem.exclude_self && index == numbers[static_cast<std::size_t>(first + r)])
            continue;
          sink.add(first + r, scores[r * width + lane], error, static_cast<std::int32_t>(index));
        }
      }
    }
    if (interrupt.stopped()) return false;
  }
  return true;
}

// Decides by the definition alone.
class Judge {
 public:
  Judge(const SearchProblem& problem, const Screen& screen)
      : definition_(screen.kernels(), problem.metric, problem.queries, problem.candidates),
        read_query_(problem.queries),
        read_candidate_(problem.candidates),
        screen_(screen) {}

  // The query that the following keys are for.
  void face(std::int64_t query, const LoadedRow& loaded) {
    query_ = read_query_(query);
    norm_ = loaded.own_norm;
  }
  double key(std::int64_t candidate) {
    return definition_.key(query_, norm_, read_candidate_(candidate),
                           screen_.candidate_norm(candidate));
  }
  void prefetch(std::int64_t candidate) const { read_candidate_.prefetch(candidate); }
  float distance(double key) const { return definition_.distance(key); }

 private:
  Definition definition_;
  RowReader read_query_;
  RowReader read_candidate_;
  const Screen& screen_;
  const void* query_ = nullptr;
  double norm_ = 0.0;
};

}  // namespace fastface
