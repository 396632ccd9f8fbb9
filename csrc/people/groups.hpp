// The groups that a linkage begins with, and what becomes of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "desk.hpp"
#include "linkage.hpp"

namespace fastface {

// The groups of the beginning.
class Groups {
 public:
  Groups(const LinkageProblem& problem, int n_threads, Interrupt& interrupt)
      : problem_(problem),
        all_alone_(is_identity(problem)),
        members_(members_of(problem.labels, problem.graph.n, problem.n_groups)) {
    if (all_alone_) {
      roots_.resize(problem.shares.values.size());
      std::transform(problem.shares.values.begin(), problem.shares.values.end(), roots_.begin(),
                     [](float share) { return std::sqrt(share); });
      return;
    }
    overlaps_ = group_overlaps(problem.shares, members_, problem.labels, n_threads, interrupt);
    sums_place_.assign(static_cast<std::size_t>(problem.n_groups), -1);
    for (std::int64_t group = 0; group < problem.n_groups; ++group) {
      for (const std::int32_t face : faces(group)) {
        exclusions_.items.insert(exclusions_.items.end(), problem.exclusions.begin(face),
                                 problem.exclusions.end(face));
      }
      exclusions_.offsets.push_back(static_cast<std::int64_t>(exclusions_.items.size()));
      if (size(group) > 1) add_up(group);
    }
  }

  bool all_alone() const { return all_alone_; }
  ListView faces(std::int64_t group) const { return {members_.begin(group), members_.end(group)}; }
  std::int32_t size(std::int64_t group) const {
    return static_cast<std::int32_t>(members_.end(group) - members_.begin(group));
  }
  const float* vector(std::int64_t group) const {
    if (size(group) > 1) return sums_.data() + sums_place_[group] * problem_.dim;
    return problem_.x + *members_.begin(group) * problem_.dim;
  }
  RowView row(std::int64_t group) const {
    const SparseRows& rows = all_alone_ ? problem_.shares : overlaps_;
    const std::vector<float>& values = all_alone_ ? roots_ : overlaps_.values;
    const std::int64_t start = rows.offsets[group];
    return {rows.columns.data() + start, values.data() + start, rows.offsets[group + 1] - start};
  }
  ListView exclusions(std::int64_t group) const {
    const Lists& lists = all_alone_ ? problem_.exclusions : exclusions_;
    return {lists.begin(group), lists.end(group)};
  }

 private:
  static bool is_identity(const LinkageProblem& problem) {
    if (problem.n_groups != problem.graph.n) return false;
    for (std::int64_t face = 0; face < problem.graph.n; ++face)
      if (problem.labels[face] != face) return false;
    return true;
  }

  void add_up(std::int64_t group) {
    sums_place_[group] = static_cast<std::int64_t>(sums_.size()) / problem_.dim;
    sums_.resize(sums_.size() + static_cast<std::size_t>(problem_.dim), 0.0F);
    float* sum = sums_.data() + sums_place_[group] * problem_.dim;
    for (const std::int32_t face : faces(group)) {
      const float* x = problem_.x + face * problem_.dim;
      for (std::int64_t i = 0; i < problem_.dim; ++i) sum[i] += x[i];
    }
  }

  const LinkageProblem& problem_;
  const bool all_alone_;  // every face a group, named as itself
  Lists members_;
  std::vector<float> roots_;  // of the shares, where faces are alone
  SparseRows overlaps_;
  Lists exclusions_;
  std::vector<std::int64_t> sums_place_;
  std::vector<float> sums_;  // of the embeddings of groups of several faces
};

// Which groups there are, while they are joined.  Groups that no chain of pairs connects know
// nothing of each other: several threads may join them at once.
struct Standing {
  explicit Standing(const Groups& groups, std::int64_t n)
      : parent(static_cast<std::size_t>(n)),
        version(static_cast<std::size_t>(n), 0),
        sizes(static_cast<std::size_t>(n)),
        slot(static_cast<std::size_t>(n), -1) {
    std::iota(parent.begin(), parent.end(), 0);
    for (std::int64_t group = 0; group < n; ++group) sizes[group] = groups.size(group);
  }

  std::int32_t find(std::int32_t group) {
    while (parent[group] != group) {
      parent[group] = parent[parent[group]];
      group = parent[group];
    }
    return group;
  }

  std::vector<std::int32_t> parent;
  std::vector<std::int32_t> version;
  std::vector<std::int32_t> sizes;
  std::vector<std::int32_t> slot;  // of what is known of a joined group, with whom joined it
};

// Mean of K over pairs of faces, from the means of its two terms.
inline float mixed(const LinkageProblem& problem, double squared_distance, double overlap) {
  const double closeness = 1.0 - squared_distance / (problem.cutoff * problem.cutoff);
  return static_cast<float>((1.0 - problem.overlap_weight) * closeness +
                            problem.overlap_weight * overlap);
}

}  // namespace fastface
