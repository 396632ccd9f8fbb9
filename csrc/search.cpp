#include "search.hpp"

#include <algorithm>
#include <limits>

#include "cpu/dispatch.hpp"
#include "screen.hpp"

namespace fastface {
namespace {

constexpr std::int64_t kPackedRowBytes = std::int64_t{1} << 20;     // query rows of one block
constexpr std::int64_t kSharedPanelBytes = std::int64_t{48} << 20;  // packed once for all threads
constexpr std::int64_t kPanelBlockBytes = std::int64_t{1} << 20;    // else packed block by block
constexpr std::int64_t kFewQueries = 8;  // fewer are not worth packing the candidates for
constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <typename Storage>
std::vector<double> row_norms(const KernelTable& kernels, const Matrix<Storage>& matrix) {
  const Definition definition{kernels, Metric::kInnerProduct, matrix.dim};
  RowReader<Storage> read(matrix);
  std::vector<double> norms(static_cast<std::size_t>(matrix.rows));
  for (std::int64_t i = 0; i < matrix.rows; ++i) {
    const auto* row = read(i);
    norms[i] = std::sqrt(definition.dot(row, row));
  }
  return norms;
}

struct Scored {
  double key;
  std::int32_t index;
  bool operator<(const Scored& other) const {
    return key != other.key ? key < other.key : index < other.index;
  }
};

struct Survivor {
  float score;
  std::int32_t index;
};

// What every block of queries shares.
template <typename Storage>
struct Plan {
  const SearchProblem<Storage>& problem;
  const KernelTable& kernels;
  Definition definition;
  std::vector<double> candidate_norms;
  double largest_norm;
  std::int64_t block_rows;
  bool shared_panels;
  AlignedFloats panels;
  AlignedFloats biases;

  explicit Plan(const SearchProblem<Storage>& p)
      : problem(p),
        kernels(active_kernels()),
        definition{kernels, p.metric, p.queries.dim},
        candidate_norms(row_norms(kernels, p.candidates)),
        largest_norm(candidate_norms.empty()
                         ? 0.0
                         : *std::max_element(candidate_norms.begin(), candidate_norms.end())),
        block_rows(rows_per_block(p, kernels)),
        shared_panels(p.queries.rows > kFewQueries &&
                      padded(p.candidates.rows) * p.candidates.dim * 4 <= kSharedPanelBytes),
        panels(shared_panels ? padded(p.candidates.rows) * p.candidates.dim : 0),
        biases(shared_panels ? padded(p.candidates.rows) : 0) {
    if (shared_panels)
      pack_panels(p.candidates, 0, p.candidates.rows, candidate_norms.data(), p.metric,
                  kernels.panel_width, panels.get(), biases.get());
  }

  std::int64_t padded(std::int64_t count) const {
    return (count + kernels.panel_width - 1) / kernels.panel_width * kernels.panel_width;
  }

  static std::int64_t rows_per_block(const SearchProblem<Storage>& p, const KernelTable& kernels) {
    const std::int64_t fit = kPackedRowBytes / (4 * std::max<std::int64_t>(p.queries.dim, 1));
    // At least four blocks a thread, so that threads end together.
    const std::int64_t share = p.queries.rows / (4 * p.n_threads) + 1;
    const std::int64_t tile = kernels.tile_rows;
    const std::int64_t rows = std::clamp<std::int64_t>(std::min(fit, share), 10 * tile, 2048);
    return (rows + tile - 1) / tile * tile;
  }

  std::int64_t n_blocks() const { return (problem.queries.rows + block_rows - 1) / block_rows; }
};

// Scores one block of query rows against every candidate and hands survivors to `sink`, which owns
// the thresholds: sink.thresholds() is one float a row, sink.add(row, score, index) may raise them.
template <typename Storage, typename Sink>
bool sweep(const Plan<Storage>& plan, std::int64_t first, std::int64_t count, Sink& sink,
           Interrupt& interrupt, bool calling_thread) {
  const SearchProblem<Storage>& problem = plan.problem;
  const KernelTable& kernels = plan.kernels;
  const std::int64_t dim = problem.queries.dim;
  const std::int64_t m = problem.candidates.rows;
  const int tile = kernels.tile_rows;
  const int width = kernels.panel_width;

  AlignedFloats rows(plan.block_rows * dim);
  pack_rows(problem.queries, first, count, tile, rows.get());

  const std::int64_t panel_floats = width * std::max<std::int64_t>(dim, 1);
  const std::int64_t panels_per_block =
      std::max<std::int64_t>(1, kPanelBlockBytes / (4 * panel_floats));
  AlignedFloats own_panels(plan.shared_panels ? 0 : panels_per_block * panel_floats);
  AlignedFloats own_biases(plan.shared_panels ? 0 : panels_per_block * width);

  alignas(64) float scores[kMaxTileRows * kMaxPanelWidth];
  std::uint32_t survivors[kMaxTileRows];
  for (std::int64_t start = 0; start < m; start += panels_per_block * width) {
    const std::int64_t stop = std::min(m, start + panels_per_block * width);
    const float* panels = plan.panels.get() + start * dim;
    const float* biases = plan.biases.get() + start;
    if (!plan.shared_panels) {
      pack_panels(problem.candidates, start, stop - start, plan.candidate_norms.data(),
                  problem.metric, width, own_panels.get(), own_biases.get());
      panels = own_panels.get();
      biases = own_biases.get();
    }
    for (std::int64_t base = start; base < stop; base += width) {
      const float* panel = panels + (base - start) * dim;
      for (std::int64_t row = 0; row < count; row += tile) {
        kernels.score_tile(rows.get() + row * dim, panel, biases + (base - start), dim,
                           sink.thresholds() + row, scores, survivors);
        for (int r = 0; r < tile; ++r) {
          for (std::uint32_t mask = survivors[r]; mask != 0; mask &= mask - 1) {
            const int lane = __builtin_ctz(mask);
            const std::int64_t index = base + lane;
            if (problem.exclude_self && index == first + row + r) continue;
            if (row + r < count && index < m)
              sink.add(row + r, scores[r * width + lane], static_cast<std::int32_t>(index));
          }
        }
      }
      if (interrupt.stopped(calling_thread)) return false;
    }
  }
  return true;
}

// Keeps, for every row of a block, each candidate that may still be among the k nearest.
class NearestSink {
 public:
  NearestSink(std::int64_t rows, std::int64_t k)
      : k_(k),
        capacity_(2 * k + 32),
        thresholds_(rows + kMaxTileRows, kInfinity),
        errors_(rows, 0.0),
        counts_(rows, 0),
        crowded_(rows, 0),
        kept_(rows * capacity_) {}

  void open(std::int64_t row, double error) {
    errors_[row] = 2.0 * error;
    crowded_[row] = !(error < std::numeric_limits<double>::infinity());
    thresholds_[row] = crowded_[row] ? kInfinity : -kInfinity;
  }

  const float* thresholds() const { return thresholds_.data(); }

  void add(std::int64_t row, float score, std::int32_t index) {
    if (score < thresholds_[row]) return;  // raised since the tile was scored
    Survivor* kept = row_of(row);
    kept[counts_[row]++] = {score, index};
    if (k_ == 1) {
      const float threshold = round_down(static_cast<double>(score) - errors_[row]);
      if (threshold > thresholds_[row]) thresholds_[row] = threshold;
    }
    if (counts_[row] == capacity_) compact(row);
  }

  // Drops what can no longer be among the k nearest.
  void compact(std::int64_t row) {
    Survivor* kept = row_of(row);
    std::int64_t& count = counts_[row];
    if (count > k_) {
      std::nth_element(kept, kept + (k_ - 1), kept + count,
                       [](const Survivor& a, const Survivor& b) { return a.score > b.score; });
      const float threshold = round_down(static_cast<double>(kept[k_ - 1].score) - errors_[row]);
      thresholds_[row] = std::max(thresholds_[row], threshold);
      count = std::remove_if(kept, kept + count,
                             [&](const Survivor& s) { return s.score < thresholds_[row]; }) -
              kept;
    }
    // Too many near ties to tell apart in float32: every candidate goes to the definition.
    if (count == capacity_) {
      crowded_[row] = 1;
      thresholds_[row] = kInfinity;
      count = 0;
    }
  }

  bool crowded(std::int64_t row) const { return crowded_[row] != 0; }
  const Survivor* begin(std::int64_t row) const { return kept_.data() + row * capacity_; }
  std::int64_t count(std::int64_t row) const { return counts_[row]; }

 private:
  Survivor* row_of(std::int64_t row) { return kept_.data() + row * capacity_; }

  std::int64_t k_;
  std::int64_t capacity_;
  std::vector<float> thresholds_;  // padding rows stay at infinity: nothing survives
  std::vector<double> errors_;
  std::vector<std::int64_t> counts_;
  std::vector<char> crowded_;
  std::vector<Survivor> kept_;
};

// Decides one row by the definition alone: over its survivors, or over everybody.
template <typename Storage>
class Judge {
 public:
  explicit Judge(const Plan<Storage>& plan)
      : plan_(plan), read_query_(plan.problem.queries), read_candidate_(plan.problem.candidates) {}

  double query_norm(std::int64_t i) {
    const auto* x = read_query_(i);
    return std::sqrt(plan_.definition.dot(x, x));
  }

  double key(std::int64_t query, double norm, std::int64_t candidate) {
    return plan_.definition.key(read_query_(query), norm, read_candidate_(candidate),
                                plan_.candidate_norms[candidate]);
  }

  bool allowed(std::int64_t query, std::int64_t candidate) const {
    return !(plan_.problem.exclude_self && query == candidate);
  }

 private:
  const Plan<Storage>& plan_;
  RowReader<Storage> read_query_;
  RowReader<Storage> read_candidate_;
};

}  // namespace

template <typename Storage>
SearchStatistics search_nearest(const SearchProblem<Storage>& problem, std::int64_t k,
                                float* distances, std::int32_t* indices, Interrupt& interrupt) {
  const Plan<Storage> plan(problem);
  std::atomic<std::int64_t> rechecked{0};
  std::atomic<std::int64_t> exhaustive{0};
  const std::int64_t n = problem.queries.rows;
  const std::int64_t m = problem.candidates.rows;
  const bool screen = n > kFewQueries;

  parallel_for(plan.n_blocks(), problem.n_threads, interrupt, [&](std::int64_t block, bool caller) {
    const std::int64_t first = block * plan.block_rows;
    const std::int64_t count = std::min(plan.block_rows, n - first);
    Judge<Storage> judge(plan);
    NearestSink sink(count, screen ? k : 0);
    std::vector<double> norms(static_cast<std::size_t>(count));
    for (std::int64_t row = 0; row < count; ++row) {
      norms[row] = judge.query_norm(first + row);
      sink.open(row, screen ? screen_error(norms[row], plan.largest_norm, problem.queries.dim,
                                           problem.metric)
                            : std::numeric_limits<double>::infinity());
    }
    if (screen && !sweep(plan, first, count, sink, interrupt, caller)) return;

    std::vector<Scored> scored;
    for (std::int64_t row = 0; row < count; ++row) {
      const std::int64_t query = first + row;
      scored.clear();
      if (screen) sink.compact(row);
      if (sink.crowded(row)) {
        exhaustive.fetch_add(1, std::memory_order_relaxed);
        for (std::int64_t j = 0; j < m; ++j) {
          if (!judge.allowed(query, j)) continue;
          const Scored candidate{judge.key(query, norms[row], j), static_cast<std::int32_t>(j)};
          if (static_cast<std::int64_t>(scored.size()) < k) {
            scored.push_back(candidate);
            std::push_heap(scored.begin(), scored.end());
          } else if (candidate < scored.front()) {
            std::pop_heap(scored.begin(), scored.end());
            scored.back() = candidate;
            std::push_heap(scored.begin(), scored.end());
          }
        }
        if (interrupt.stopped(caller)) return;
      } else {
        if (sink.count(row) > k) rechecked.fetch_add(1, std::memory_order_relaxed);
        for (std::int64_t s = 0; s < sink.count(row); ++s) {
          const std::int32_t index = sink.begin(row)[s].index;
          scored.push_back({judge.key(query, norms[row], index), index});
        }
      }
      std::sort(scored.begin(), scored.end());
      for (std::int64_t j = 0; j < k; ++j) {
        distances[query * k + j] = plan.definition.distance(scored[j].key);
        indices[query * k + j] = scored[j].index;
      }
    }
  });
  return {rechecked, exhaustive};
}

namespace {

// Collects every candidate whose score reaches a fixed threshold.
class RadiusSink {
 public:
  explicit RadiusSink(std::int64_t rows)
      : thresholds_(rows + kMaxTileRows, kInfinity), found_(rows) {}

  void open(std::int64_t row, float threshold) { thresholds_[row] = threshold; }
  const float* thresholds() const { return thresholds_.data(); }
  void add(std::int64_t row, float, std::int32_t index) { found_[row].push_back(index); }
  const std::vector<std::int32_t>& found(std::int64_t row) const { return found_[row]; }

 private:
  std::vector<float> thresholds_;
  std::vector<std::vector<std::int32_t>> found_;
};

// The score at which a candidate stands exactly on the radius, lowered by the error bound.
double score_at_radius(Metric metric, double radius, double x_norm) {
  switch (metric) {
    case Metric::kCosine:
      return (1.0 - radius) * x_norm;
    case Metric::kInnerProduct:
      return -radius;
    case Metric::kEuclidean:
      return 0.5 * (x_norm * x_norm - radius * radius);
    default:
      return 0.5 * (x_norm * x_norm - radius);
  }
}

}  // namespace

template <typename Storage>
RadiusNeighbors search_radius(const SearchProblem<Storage>& problem, double radius,
                              Interrupt& interrupt) {
  const Plan<Storage> plan(problem);
  const std::int64_t n = problem.queries.rows;
  const std::int64_t m = problem.candidates.rows;
  const bool screen = n > kFewQueries;
  // Keys are squared for the Euclidean metric; a negative radius holds nobody.
  const double limit =
      problem.metric == Metric::kEuclidean ? (radius < 0.0 ? -1.0 : radius * radius) : radius;
  struct Block {
    std::vector<std::int64_t> counts;
    std::vector<std::int32_t> indices;
    std::vector<float> distances;
  };
  std::vector<Block> blocks(static_cast<std::size_t>(plan.n_blocks()));

  parallel_for(plan.n_blocks(), problem.n_threads, interrupt, [&](std::int64_t b, bool caller) {
    const std::int64_t first = b * plan.block_rows;
    const std::int64_t count = std::min(plan.block_rows, n - first);
    Judge<Storage> judge(plan);
    RadiusSink sink(count);
    std::vector<double> norms(static_cast<std::size_t>(count));
    std::vector<char> everybody(static_cast<std::size_t>(count), 1);
    for (std::int64_t row = 0; row < count; ++row) {
      norms[row] = judge.query_norm(first + row);
      const double error =
          screen_error(norms[row], plan.largest_norm, problem.queries.dim, problem.metric);
      if (!screen || !(error < std::numeric_limits<double>::infinity())) continue;
      everybody[row] = 0;
      const double score = score_at_radius(problem.metric, radius, norms[row]);
      // The last term covers the rounding of this score itself.
      sink.open(row, round_down(score - 2.0 * error - 1e-12 * std::abs(score)));
    }
    if (screen && !sweep(plan, first, count, sink, interrupt, caller)) return;

    Block& block = blocks[static_cast<std::size_t>(b)];
    std::vector<std::int32_t> all;
    for (std::int64_t row = 0; row < count; ++row) {
      const std::size_t before = block.indices.size();
      const auto judge_one = [&](std::int32_t index) {
        if (!judge.allowed(first + row, index)) return;
        const double key = judge.key(first + row, norms[row], index);
        if (!(key <= limit)) return;
        block.indices.push_back(index);
        block.distances.push_back(plan.definition.distance(key));
      };
      if (everybody[row]) {
        for (std::int64_t j = 0; j < m; ++j) judge_one(static_cast<std::int32_t>(j));
        if (interrupt.stopped(caller)) return;
      } else {
        for (const std::int32_t index : sink.found(row)) judge_one(index);
      }
      block.counts.push_back(static_cast<std::int64_t>(block.indices.size() - before));
    }
  });

  RadiusNeighbors result;
  result.offsets.reserve(static_cast<std::size_t>(n) + 1);
  result.offsets.push_back(0);
  for (Block& block : blocks) {
    for (const std::int64_t count : block.counts)
      result.offsets.push_back(result.offsets.back() + count);
    result.indices.insert(result.indices.end(), block.indices.begin(), block.indices.end());
    result.distances.insert(result.distances.end(), block.distances.begin(), block.distances.end());
    block = Block{};
  }
  return result;
}

#define FASTFACE_INSTANTIATE(Storage)                                                            \
  template SearchStatistics search_nearest<Storage>(const SearchProblem<Storage>&, std::int64_t, \
                                                    float*, std::int32_t*, Interrupt&);          \
  template RadiusNeighbors search_radius<Storage>(const SearchProblem<Storage>&, double,         \
                                                  Interrupt&);
FASTFACE_INSTANTIATE(float)
FASTFACE_INSTANTIATE(double)
FASTFACE_INSTANTIATE(Half)

}  // namespace fastface
