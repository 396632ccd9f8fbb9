// Joins groups best pair first.
#pragma once

#include <algorithm>
#include <deque>
#include <queue>
#include <utility>
#include <vector>

#include "groups.hpp"

namespace fastface {

struct Pair {
  float similarity;
  std::int32_t low, high;
  std::int32_t stamp;  // the pair is as it was while the groups' versions add up to this
  std::int32_t owner;  // the group whose candidate it is, or -1
  std::int32_t owner_version;
};

struct Later {
  bool operator()(const Pair& a, const Pair& b) const {
    if (a.similarity != b.similarity) return a.similarity < b.similarity;
    return std::make_pair(a.low, a.high) > std::make_pair(b.low, b.high);
  }
};

// What is known of a group of several faces.  A group as it was at the beginning has none: it reads
// its parts where they lie in the input.
struct Joined {
  std::vector<float> vector;  // sum of the embeddings
  std::vector<std::int32_t> columns;
  std::vector<float> values;            // sum of the unit rows of shares
  std::vector<std::int32_t> neighbors;  // groups to compare with, named as they once were
  std::vector<std::int32_t> exclusions;
  std::vector<Pair> candidates;  // a heap: only its best is in the queue of all groups
};

// Joins groups best pair first: one thread's desk and what it knows of the groups it has joined.
class Joiner {
 public:
  Joiner(const LinkageProblem& problem, const Groups& groups, const SparseRows& pairs,
         const Lists& neighbors, Standing& standing, Interrupt& interrupt)
      : problem_(problem),
        groups_(groups),
        found_(pairs),
        neighbors_(neighbors),
        standing_(standing),
        interrupt_(interrupt),
        desk_(problem.n_groups, problem.n_exclusions) {}

  // Joins the groups of one component of the pairs.
  void join(const ListView& component) {
    pairs_.clear();
    for (const std::int32_t group : component) {
      for (std::int64_t e = found_.offsets[group]; e < found_.offsets[group + 1]; ++e) {
        const std::int32_t other = found_.columns[e];
        pairs_.push_back(
            {found_.values[e], std::min(group, other), std::max(group, other), 0, -1, 0});
      }
    }
    // A pair that was found from either side is out of date when it comes again.
    std::sort(pairs_.begin(), pairs_.end(),
              [](const Pair& a, const Pair& b) { return Later{}(b, a); });
    take_pairs();
    for (const std::int32_t group : component)
      if (standing_.slot[group] >= 0) close_slot(group);
  }

 private:
  static constexpr std::int64_t kMergesBetweenQuestions = 256;

  const float* vector(std::int64_t group) const {
    const std::int32_t slot = standing_.slot[group];
    return slot >= 0 ? joined_[slot].vector.data() : groups_.vector(group);
  }

  RowView row(std::int64_t group) const {
    const std::int32_t slot = standing_.slot[group];
    if (slot < 0) return groups_.row(group);
    const Joined& joined = joined_[slot];
    return {joined.columns.data(), joined.values.data(),
            static_cast<std::int64_t>(joined.columns.size())};
  }

  ListView neighbors(std::int64_t group) const {
    const std::int32_t slot = standing_.slot[group];
    if (slot >= 0) return view(joined_[slot].neighbors);
    return {neighbors_.begin(group), neighbors_.end(group)};
  }

  ListView exclusions(std::int64_t group) const {
    const std::int32_t slot = standing_.slot[group];
    return slot >= 0 ? view(joined_[slot].exclusions) : groups_.exclusions(group);
  }

  // Gives a group room of its own, filled with what it was at the beginning.
  Joined& open_slot(std::int64_t group) {
    std::int32_t slot = static_cast<std::int32_t>(joined_.size());
    if (free_.empty()) {
      joined_.emplace_back();
    } else {
      slot = free_.back();
      free_.pop_back();
    }
    Joined& joined = joined_[slot];
    const RowView entries = groups_.row(group);
    joined.columns.assign(entries.columns, entries.columns + entries.size);
    joined.values.assign(entries.values, entries.values + entries.size);
    joined.neighbors.assign(neighbors_.begin(group), neighbors_.end(group));
    const ListView excluded = groups_.exclusions(group);
    joined.exclusions.assign(excluded.begin(), excluded.end());
    const float* sum = groups_.vector(group);
    joined.vector.assign(sum, sum + problem_.dim);
    standing_.slot[group] = slot;
    return joined;
  }

  void close_slot(std::int64_t group) {
    free_.push_back(standing_.slot[group]);
    standing_.slot[group] = -1;
  }

  // Mean of K over all pairs of the group on the desk and another.
  float similarity(std::int64_t group, std::int64_t other) const {
    const double n_pairs =
        static_cast<double>(standing_.sizes[group]) * static_cast<double>(standing_.sizes[other]);
    const double product = dot(vector(group), vector(other), problem_.dim);
    return mixed(problem_, 2.0 * (1.0 - product / n_pairs), desk_.overlap(row(other)) / n_pairs);
  }

  void take_pairs() {
    std::int64_t n_merges = 0;
    std::size_t next = 0;
    while (next < pairs_.size() || !queue_.empty()) {
      const bool is_queued =
          next == pairs_.size() || (!queue_.empty() && Later{}(pairs_[next], queue_.top()));
      const Pair pair = is_queued ? queue_.top() : pairs_[next++];
      if (is_queued) queue_.pop();
      if (!is_current(pair.low) || !is_current(pair.high) ||
          standing_.version[pair.low] + standing_.version[pair.high] != pair.stamp) {
        // The other end has changed: the owner may have another candidate.
        if (is_queued && is_current(pair.owner) &&
            standing_.version[pair.owner] == pair.owner_version)
          offer(pair.owner);
        continue;
      }
      if (++n_merges % kMergesBetweenQuestions == 0 && interrupt_.stopped()) {
        queue_ = {};
        return;
      }
      merge(pair.low, pair.high);
      compare(pair.low);
    }
  }

  bool is_current(std::int32_t group) const { return standing_.parent[group] == group; }

  // Puts the best candidate of a group into the queue.
  void offer(std::int32_t group) {
    std::vector<Pair>& candidates = joined_[standing_.slot[group]].candidates;
    if (candidates.empty()) return;
    std::pop_heap(candidates.begin(), candidates.end(), Later{});
    queue_.push(candidates.back());
    candidates.pop_back();
  }

  // Puts `other` into `group`.
  void merge(std::int32_t group, std::int32_t other) {
    const std::int32_t slot = standing_.slot[group];
    Joined& joined = slot >= 0 ? joined_[slot] : open_slot(group);
    const float* added = vector(other);
    for (std::int64_t i = 0; i < problem_.dim; ++i) joined.vector[i] += added[i];
    const RowView entries = row(other);
    desk_.lay_open(entries, {nullptr, nullptr});
    for (std::size_t e = 0; e < joined.columns.size(); ++e)
      joined.values[e] += desk_.take(joined.columns[e]);
    for (std::int64_t e = 0; e < entries.size; ++e) {
      if (desk_.take(entries.columns[e]) == 0) continue;
      joined.columns.push_back(entries.columns[e]);
      joined.values.push_back(entries.values[e]);
    }
    const ListView near = neighbors(other);
    joined.neighbors.insert(joined.neighbors.end(), near.begin(), near.end());
    const ListView excluded = exclusions(other);
    joined.exclusions.insert(joined.exclusions.end(), excluded.begin(), excluded.end());

    standing_.parent[other] = group;
    standing_.sizes[group] += standing_.sizes[other];
    standing_.version[group] += 1;
    standing_.version[other] += 1;
    if (standing_.slot[other] >= 0) close_slot(other);
  }

  // Scores a group of several faces against its neighbours.  Neighbours met twice, and those that
  // can never be joined, are dropped from its list.
  void compare(std::int32_t group) {
    Joined& joined = joined_[standing_.slot[group]];
    std::vector<std::int32_t>& near = joined.neighbors;
    std::vector<Pair>& candidates = joined.candidates;
    candidates.clear();
    desk_.lay_open(row(group), exclusions(group));
    desk_.meets(group);
    std::size_t kept = 0;
    for (const std::int32_t named : near) {
      const std::int32_t other = standing_.find(named);
      if (!desk_.meets(other) || desk_.excludes(exclusions(other))) continue;
      near[kept++] = other;
      const float score = similarity(group, other);
      if (score < static_cast<float>(problem_.stop)) continue;
      candidates.push_back({score, std::min(group, other), std::max(group, other),
                            standing_.version[group] + standing_.version[other], group,
                            standing_.version[group]});
    }
    near.resize(kept);
    std::make_heap(candidates.begin(), candidates.end(), Later{});
    offer(group);
  }

  const LinkageProblem& problem_;
  const Groups& groups_;
  const SparseRows& found_;
  const Lists& neighbors_;
  Standing& standing_;
  Interrupt& interrupt_;
  Desk desk_;
  std::deque<Joined> joined_;
  std::vector<std::int32_t> free_;
  std::vector<Pair> pairs_;                                    // of the beginning, best first
  std::priority_queue<Pair, std::vector<Pair>, Later> queue_;  // of groups that were joined
};

}  // namespace fastface
