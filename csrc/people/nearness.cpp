#include "nearness.hpp"

#include <algorithm>

namespace fastface {
namespace {

constexpr std::int64_t kBlockFaces = 1024;

}  // namespace

Nearness nearness(const NeighborLists& graph, const float* x, std::int64_t dim,
                  const std::int32_t* labels, std::int64_t n_people, double alone, double nobody,
                  std::int64_t n_candidates, int n_threads, Interrupt& interrupt) {
  const auto n = static_cast<std::size_t>(graph.n);
  std::vector<std::int64_t> counts(static_cast<std::size_t>(n_people), 0);
  std::vector<float> sums(static_cast<std::size_t>(n_people * dim), 0.0F);
  for (std::int64_t face = 0; face < graph.n; ++face) {
    counts[labels[face]] += 1;
    float* sum = sums.data() + labels[face] * dim;
    for (std::int64_t i = 0; i < dim; ++i) sum[i] += x[face * dim + i];
  }
  Nearness result{std::vector<double>(n, alone), std::vector<double>(n, nobody),
                  std::vector<std::int32_t>(n, -1)};
  const auto squared = [](double product) { return std::max(0.0, 2.0 - 2.0 * product); };
  const auto look_at = [&](std::int64_t face, std::vector<std::int32_t>& met) {
    const float* row = x + face * dim;
    const std::int32_t person = labels[face];
    if (counts[person] > 1) {
      const double rest = static_cast<double>(dot(row, sums.data() + person * dim, dim)) -
                          static_cast<double>(dot(row, row, dim));
      result.own[face] = squared(rest / static_cast<double>(counts[person] - 1));
    }
    met.clear();
    for (std::int64_t place = 0; place < graph.k; ++place) {
      const std::int32_t other = labels[graph.indices[face * graph.k + place]];
      if (other == person || std::find(met.begin(), met.end(), other) != met.end()) continue;
      if (static_cast<std::int64_t>(met.size()) == n_candidates) break;
      met.push_back(other);
      const double mean = static_cast<double>(dot(row, sums.data() + other * dim, dim)) /
                          static_cast<double>(counts[other]);
      if (squared(mean) < result.other[face]) {
        result.other[face] = squared(mean);
        result.runner_up[face] = other;
      }
    }
  };
  parallel_for((graph.n + kBlockFaces - 1) / kBlockFaces, n_threads, interrupt, [&]() -> Worker {
    return [&, met = std::vector<std::int32_t>()](std::int64_t block) mutable {
      const std::int64_t stop = std::min(graph.n, (block + 1) * kBlockFaces);
      for (std::int64_t face = block * kBlockFaces; face < stop; ++face) look_at(face, met);
    };
  });
  return result;
}

}  // namespace fastface
