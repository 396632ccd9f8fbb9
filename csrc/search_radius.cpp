#include "cpu/dispatch.hpp"
#include "sweep.hpp"

namespace fastface {
namespace {

// Collects every candidate whose score may reach a fixed bar.
class RadiusSink {
 public:
  static constexpr bool kRaising = false;

  explicit RadiusSink(std::int64_t rows)
      : bars_(static_cast<std::size_t>(rows + kMaxTileRows)),
        found_(static_cast<std::size_t>(rows)) {}

  void open(const Block& block, const Screen& screen, double key) {
    std::fill(bars_.begin(), bars_.end(), kInfinity);
    for (std::int64_t row = 0; row < block.count(); ++row) {
      const auto at = static_cast<std::size_t>(row);
      found_[at].clear();
      if (!block.loaded(row).blind) bars_[at] = screen.bar_at(key, block.loaded(row));
    }
  }

  float* bars() { return bars_.data(); }
  void add(std::int64_t row, float, float, std::int32_t index) {
    found_[static_cast<std::size_t>(row)].push_back(index);
  }
  const std::vector<std::int32_t>& found(std::int64_t row) const {
    return found_[static_cast<std::size_t>(row)];
  }

 private:
  std::vector<float> bars_;
  std::vector<std::vector<std::int32_t>> found_;
};

struct BlockResult {
  std::vector<std::int64_t> counts;
  std::vector<std::int32_t> indices;
  std::vector<float> distances;
};

}  // namespace

RadiusNeighbors search_radius(const SearchProblem& problem, double radius, Interrupt& interrupt) {
  const std::int64_t n = problem.queries.rows;
  const std::int64_t m = problem.candidates.rows;
  RadiusNeighbors result;
  result.offsets.assign(1, 0);
  if (n == 0) return result;
  std::optional<Screen> own;
  if (problem.prepared == nullptr)
    own.emplace(active_kernels(), problem.metric, problem.candidates, problem.n_threads, interrupt);
  const Screen& screen = own ? *own : problem.prepared->screen;
  if (interrupt.stopped()) return result;

  const Plan plan(problem, screen, 64);
  const SharedPanels panels(problem, screen, plan, interrupt);
  // Keys are squared for the Euclidean metric; a negative radius holds nobody.
  const double limit =
      problem.metric == Metric::kEuclidean ? (radius < 0.0 ? -1.0 : radius * radius) : radius;
  std::vector<BlockResult> blocks(static_cast<std::size_t>(plan.n_blocks()));

  struct Tools {
    Judge judge;
    RowReader read;
    Block block;
    PanelRun run;
    RadiusSink sink;
  };
  const auto work = [&](Tools& tools, std::int64_t b) {
    const std::int64_t first = b * plan.block_rows;
    std::vector<std::int64_t> numbers(
        static_cast<std::size_t>(std::min(plan.block_rows, n - first)));
    std::iota(numbers.begin(), numbers.end(), first);
    tools.block.load(problem.queries, tools.read, numbers);
    tools.sink.open(tools.block, screen, limit);
    if (!sweep(problem, screen, tools.block, numbers, tools.run, tools.sink, interrupt)) return;

    BlockResult& found = blocks[static_cast<std::size_t>(b)];
    for (std::int64_t row = 0; row < tools.block.count(); ++row) {
      const std::size_t before = found.indices.size();
      tools.judge.face(first + row, tools.block.loaded(row));
      const auto judge_one = [&](std::int32_t index) {
        const double key = tools.judge.key(index);
        if (!(key <= limit)) return;
        found.indices.push_back(index);
        found.distances.push_back(tools.judge.distance(key));
      };
      if (tools.block.loaded(row).blind) {
        for (std::int64_t j = 0; j < m; ++j)
          if (!(problem.exclude_self && j == first + row)) judge_one(static_cast<std::int32_t>(j));
      } else {
        for (const std::int32_t index : tools.sink.found(row)) judge_one(index);
      }
      found.counts.push_back(static_cast<std::int64_t>(found.indices.size() - before));
      if (interrupt.stopped()) return;
    }
  };
  parallel_for(plan.n_blocks(), plan.n_threads, interrupt, [&]() -> Worker {
    const auto tools = std::make_shared<Tools>(
        Tools{Judge(problem, screen), RowReader(problem.queries),
              Block(screen, plan.precision, plan.block_rows),
              PanelRun(screen, panels.of(plan.precision), plan.precision, plan.run_panels),
              RadiusSink(plan.block_rows)});
    return [&work, tools](std::int64_t b) { work(*tools, b); };
  });

  for (BlockResult& block : blocks) {
    for (const std::int64_t count : block.counts)
      result.offsets.push_back(result.offsets.back() + count);
    result.indices.insert(result.indices.end(), block.indices.begin(), block.indices.end());
    result.distances.insert(result.distances.end(), block.distances.begin(), block.distances.end());
    block = BlockResult{};
  }
  return result;
}

}  // namespace fastface
