#include "sweep.hpp"

namespace fastface {
namespace {

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

#define FASTFACE_INSTANTIATE(Storage)                                                            \
  template SearchStatistics search_nearest<Storage>(const SearchProblem<Storage>&, std::int64_t, \
                                                    float*, std::int32_t*, Interrupt&);
FASTFACE_INSTANTIATE(float)
FASTFACE_INSTANTIATE(double)
FASTFACE_INSTANTIATE(Half)

}  // namespace fastface
