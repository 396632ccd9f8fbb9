#include "overlap.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

namespace fastface {
namespace {

std::vector<double> local_radii(const NeighborLists& graph, const NeighborhoodShape& shape) {
  const std::int64_t count = std::min(shape.radius_neighbors, graph.k);
  std::vector<double> radii(static_cast<std::size_t>(graph.n));
  for (std::int64_t face = 0; face < graph.n; ++face) {
    double sum = 0;
    for (std::int64_t place = 0; place < count; ++place)
      sum += graph.distances[face * graph.k + place];
    const double mean = count > 0 ? sum / static_cast<double>(count) : 0.0;
    radii[face] = std::min(std::max(mean, shape.smallest_radius), shape.cutoff);
  }
  return radii;
}

}  // namespace

SparseRows neighbor_shares(const NeighborLists& graph, const NeighborhoodShape& shape,
                           int n_threads, Interrupt& interrupt) {
  const std::vector<double> radii = local_radii(graph, shape);
  return build_rows(walk(graph, shape.cutoff), n_threads, interrupt, [&]() -> RowWriter {
    return [&, entries = std::vector<std::pair<std::int32_t, double>>()](
               std::int64_t face, std::vector<std::int32_t>& columns,
               std::vector<float>& values) mutable {
      entries.assign(1, {static_cast<std::int32_t>(face), 1.0});
      double total = 1;
      for (std::int64_t place = 0; place < graph.k; ++place) {
        const std::int32_t other = graph.indices[face * graph.k + place];
        const double distance = graph.distances[face * graph.k + place];
        const double product = radii[face] * radii[other];
        if (!(distance < shape.cutoff) || !(distance < shape.radius_factor * std::sqrt(product)))
          continue;
        if (graph.place_of(other, face) < 0) continue;
        const double weight = std::exp(-distance * distance / (2 * product));
        entries.emplace_back(other, weight);
        total += weight;
      }
      std::sort(entries.begin(), entries.end());
      for (const auto& [column, weight] : entries) {
        columns.push_back(column);
        values.push_back(static_cast<float>(weight / total));
      }
    };
  });
}

SparseRows group_overlaps(const SparseRows& shares, const Lists& members,
                          const std::int32_t* labels, int n_threads, Interrupt& interrupt) {
  const std::int64_t n_groups = members.size();
  return build_rows(n_groups, n_threads, interrupt, [&]() -> RowWriter {
    auto sums = std::make_shared<std::vector<double>>(static_cast<std::size_t>(n_groups), 0.0);
    return [&, sums, met = std::vector<std::int32_t>()](std::int64_t group,
                                                        std::vector<std::int32_t>& columns,
                                                        std::vector<float>& values) mutable {
      met.clear();
      for (const std::int32_t* face = members.begin(group); face != members.end(group); ++face) {
        for (std::int64_t e = shares.offsets[*face]; e < shares.offsets[*face + 1]; ++e) {
          const std::int32_t column = labels[shares.columns[e]];
          if ((*sums)[column] == 0) met.push_back(column);
          (*sums)[column] += shares.values[e];
        }
      }
      std::sort(met.begin(), met.end());
      const auto size = static_cast<double>(members.end(group) - members.begin(group));
      for (const std::int32_t column : met) {
        columns.push_back(column);
        values.push_back(static_cast<float>(size * std::sqrt((*sums)[column] / size)));
        (*sums)[column] = 0;
      }
    };
  });
}

}  // namespace fastface
