#include "linkage.hpp"

#include <memory>
#include <utility>

#include "joiner.hpp"

namespace fastface {
namespace {

constexpr std::int64_t kBlockComponents = 32;

// The groups in an order in which near ones follow each other.
std::vector<std::int32_t> walk_groups(const LinkageProblem& problem, const Groups& groups) {
  std::vector<std::int32_t> faces = walk(problem.graph, problem.longest_edge);
  if (groups.all_alone()) return faces;
  std::vector<std::int32_t> order;
  order.reserve(static_cast<std::size_t>(problem.n_groups));
  std::vector<char> met(static_cast<std::size_t>(problem.n_groups), 0);
  for (const std::int32_t face : faces)
    if (!std::exchange(met[problem.labels[face]], 1)) order.push_back(problem.labels[face]);
  return order;
}

// Beside each share of a row, the root of the share that goes the other way: what the column gives
// the row.  Nothing if some share goes one way only.
std::vector<float> facing_roots(const SparseRows& shares) {
  std::vector<float> roots(shares.values.size());
  std::vector<std::int64_t> next(shares.offsets.begin(), shares.offsets.end() - 1);
  for (std::int64_t row = 0; row < shares.size(); ++row) {
    for (std::int64_t e = shares.offsets[row]; e < shares.offsets[row + 1]; ++e) {
      const std::int32_t column = shares.columns[e];
      const std::int64_t place = next[column]++;  // rows come in the order of columns
      if (place == shares.offsets[column + 1] || shares.columns[place] != row) return {};
      roots[place] = std::sqrt(shares.values[e]);
    }
  }
  return roots;
}

// The overlaps of one face with all others, where every share has one that faces it.  The sums are
// those of a desk, in the same order, but only faces with a share in common are ever read.
class AllOverlaps {
 public:
  AllOverlaps(const Groups& groups, const SparseRows& shares, const std::vector<float>& facing)
      : groups_(groups), shares_(shares), facing_(facing) {
    if (!facing.empty()) sums_.assign(static_cast<std::size_t>(shares.size()), 0.0);
  }

  void add_up(std::int64_t face) {
    const RowView row = groups_.row(face);
    for (std::int64_t e = 0; e < row.size; ++e) {
      const double root = row.values[e];
      const std::int64_t stop = shares_.offsets[row.columns[e] + 1];
      for (std::int64_t f = shares_.offsets[row.columns[e]]; f < stop; ++f)
        sums_[shares_.columns[f]] += root * static_cast<double>(facing_[f]);
    }
  }

  void clear(std::int64_t face) {
    const RowView row = groups_.row(face);
    for (std::int64_t e = 0; e < row.size; ++e) {
      const std::int64_t stop = shares_.offsets[row.columns[e] + 1];
      for (std::int64_t f = shares_.offsets[row.columns[e]]; f < stop; ++f)
        sums_[shares_.columns[f]] = 0;
    }
  }

  double operator[](std::int64_t other) const { return sums_[other]; }

 private:
  const Groups& groups_;
  const SparseRows& shares_;
  const std::vector<float>& facing_;
  std::vector<double> sums_;
};

// Scores the pairs of groups that the graph links; those that reach `stop` may be joined.
SparseRows find_pairs(const LinkageProblem& problem, const Groups& groups,
                      const std::vector<std::int32_t>& order, int n_threads, Interrupt& interrupt) {
  const NeighborLists& graph = problem.graph;
  const auto facing = groups.all_alone() ? facing_roots(problem.shares) : std::vector<float>();
  const bool at_once = !facing.empty();
  return build_rows(order, n_threads, interrupt, [&]() -> RowWriter {
    auto desk = std::make_shared<Desk>(problem.n_groups, problem.n_exclusions);
    auto overlaps = std::make_shared<AllOverlaps>(groups, problem.shares, facing);
    return [&, desk, overlaps](std::int64_t group, std::vector<std::int32_t>& columns,
                               std::vector<float>& values) {
      desk->lay_open(at_once ? RowView{nullptr, nullptr, 0} : groups.row(group),
                     groups.exclusions(group));
      desk->meets(group);
      if (at_once) overlaps->add_up(group);
      for (const std::int32_t face : groups.faces(group)) {
        for (std::int64_t e = face * graph.k; e < (face + 1) * graph.k; ++e) {
          if (!(graph.distances[e] < problem.longest_edge)) continue;
          const std::int32_t other = problem.labels[graph.indices[e]];
          if (!desk->meets(other)) continue;
          const std::int32_t together = groups.size(group) + groups.size(other);
          if (together < problem.fewest) continue;
          if (groups.all_alone() && other < group) {  // which may have found the pair already
            const std::int64_t place = graph.place_of(other, group);
            if (place >= 0 && graph.distances[other * graph.k + place] < problem.longest_edge)
              continue;
          }
          if (problem.n_exclusions > 0 && desk->excludes(groups.exclusions(other))) continue;
          const double n_pairs =
              static_cast<double>(groups.size(group)) * static_cast<double>(groups.size(other));
          const double overlap =
              at_once ? (*overlaps)[other] : desk->overlap(groups.row(other)) / n_pairs;
          // The graph knows how far two faces are apart.
          const double distance = graph.distances[e];
          const double squared =
              together == 2
                  ? distance * distance
                  : 2.0 * (1.0 -
                           dot(groups.vector(group), groups.vector(other), problem.dim) / n_pairs);
          const float score = mixed(problem, squared, overlap);
          if (score < static_cast<float>(problem.stop)) continue;
          columns.push_back(other);
          values.push_back(score);
        }
      }
      if (at_once) overlaps->clear(group);
    };
  });
}

// Who is in a pair with each group.
Lists both_ways(const SparseRows& pairs) {
  Lists lists;
  lists.offsets.assign(pairs.offsets.size(), 0);
  const auto n = static_cast<std::int32_t>(pairs.size());
  for (std::int32_t group = 0; group < n; ++group) {
    lists.offsets[group + 1] += pairs.offsets[group + 1] - pairs.offsets[group];
    for (std::int64_t e = pairs.offsets[group]; e < pairs.offsets[group + 1]; ++e)
      lists.offsets[pairs.columns[e] + 1] += 1;
  }
  for (std::int32_t group = 0; group < n; ++group) lists.offsets[group + 1] += lists.offsets[group];
  lists.items.resize(2 * pairs.columns.size());
  std::vector<std::int64_t> next(lists.offsets.begin(), lists.offsets.end() - 1);
  for (std::int32_t group = 0; group < n; ++group) {
    for (std::int64_t e = pairs.offsets[group]; e < pairs.offsets[group + 1]; ++e) {
      lists.items[next[group]++] = pairs.columns[e];
      lists.items[next[pairs.columns[e]]++] = group;
    }
  }
  return lists;
}

// Which groups are connected by chains of pairs, in order of their first in `order`.
Lists components(const Lists& neighbors, const std::vector<std::int32_t>& order) {
  std::vector<std::int32_t> label(order.size(), -1), waiting;
  std::int32_t n_components = 0;
  for (const std::int32_t start : order) {
    if (label[start] >= 0) continue;
    label[start] = n_components;
    waiting.assign(1, start);
    while (!waiting.empty()) {
      const std::int32_t group = waiting.back();
      waiting.pop_back();
      for (const std::int32_t* other = neighbors.begin(group); other != neighbors.end(group);
           ++other) {
        if (label[*other] >= 0) continue;
        label[*other] = n_components;
        waiting.push_back(*other);
      }
    }
    n_components += 1;
  }
  return members_of(label.data(), static_cast<std::int64_t>(label.size()), n_components);
}

}  // namespace

std::vector<std::int32_t> average_linkage(const LinkageProblem& problem, int n_threads,
                                          Interrupt& interrupt) {
  const Groups groups(problem, n_threads, interrupt);
  const std::vector<std::int32_t> order = walk_groups(problem, groups);
  const SparseRows pairs = find_pairs(problem, groups, order, n_threads, interrupt);
  const Lists neighbors = both_ways(pairs);
  const Lists parts = components(neighbors, order);
  Standing standing(groups, problem.n_groups);
  const std::int64_t n_blocks = (parts.size() + kBlockComponents - 1) / kBlockComponents;
  parallel_for(n_blocks, n_threads, interrupt, [&]() -> Worker {
    auto joiner = std::make_shared<Joiner>(problem, groups, pairs, neighbors, standing, interrupt);
    return [&, joiner](std::int64_t block) {
      const std::int64_t stop = std::min(parts.size(), (block + 1) * kBlockComponents);
      for (std::int64_t part = block * kBlockComponents; part < stop; ++part)
        joiner->join({parts.begin(part), parts.end(part)});
    };
  });
  for (std::int64_t group = 0; group < problem.n_groups; ++group)
    standing.parent[group] = standing.find(static_cast<std::int32_t>(group));
  return std::move(standing.parent);
}

}  // namespace fastface
