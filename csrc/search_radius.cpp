#include "sweep.hpp"

namespace fastface {
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

#define FASTFACE_INSTANTIATE(Storage)                                                    \
  template RadiusNeighbors search_radius<Storage>(const SearchProblem<Storage>&, double, \
                                                  Interrupt&);
FASTFACE_INSTANTIATE(float)
FASTFACE_INSTANTIATE(double)
FASTFACE_INSTANTIATE(Half)

}  // namespace fastface
