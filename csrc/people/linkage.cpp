#include "linkage.hpp"

#include <algorithm>
#include <deque>
#include <memory>
#include <queue>
#include <utility>

#include "desk.hpp"

namespace fastface {
namespace {

constexpr std::int64_t kMergesBetweenQuestions = 256;
constexpr std::int64_t kAhead = 4;  // neighbours whose rows are fetched early

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

// What is known of a group of several faces.  A group of one face has none: it reads its parts
// where they lie in the input.
struct Joined {
  std::vector<float> vector;  // sum of the embeddings
  std::vector<std::int32_t> columns;
  std::vector<float> values;            // sum of the unit rows of shares
  std::vector<std::int32_t> neighbors;  // groups to compare with, named as they once were
  std::vector<std::int32_t> exclusions;
  std::vector<Pair> candidates;  // a heap: only its best is in the queue of all groups
};

class Linkage {
 public:
  Linkage(const LinkageProblem& problem, int n_threads, Interrupt& interrupt)
      : problem_(problem),
        n_threads_(n_threads),
        interrupt_(interrupt),
        members_(members_of(problem.labels, problem.graph.n, problem.n_groups)),
        overlaps_(group_overlaps(problem.shares, members_, problem.labels, n_threads, interrupt)),
        parent_(static_cast<std::size_t>(problem.n_groups)),
        version_(static_cast<std::size_t>(problem.n_groups), 0),
        sizes_(static_cast<std::size_t>(problem.n_groups)),
        slot_(static_cast<std::size_t>(problem.n_groups), -1) {
    for (std::int64_t group = 0; group < problem.n_groups; ++group) {
      parent_[group] = static_cast<std::int32_t>(group);
      sizes_[group] = static_cast<std::int32_t>(members_.end(group) - members_.begin(group));
      if (sizes_[group] > 1) open_slot(group);
    }
  }

  std::vector<std::int32_t> run() {
    compare_all();
    // One block, so that the calling thread is asked whether to stop.
    parallel_for(1, 1, interrupt_, [this]() -> Worker { return [this](std::int64_t) { join(); }; });
    for (std::int64_t group = 0; group < problem_.n_groups; ++group)
      parent_[group] = find(static_cast<std::int32_t>(group));
    return std::move(parent_);
  }

 private:
  const float* vector(std::int64_t group) const {
    if (slot_[group] >= 0) return joined_[slot_[group]].vector.data();
    return problem_.x + *members_.begin(group) * problem_.dim;
  }

  RowView row(std::int64_t group) const {
    if (slot_[group] >= 0) {
      const Joined& joined = joined_[slot_[group]];
      return {joined.columns.data(), joined.values.data(),
              static_cast<std::int64_t>(joined.columns.size())};
    }
    const std::int64_t start = overlaps_.offsets[group];
    return {overlaps_.columns.data() + start, overlaps_.values.data() + start,
            overlaps_.offsets[group + 1] - start};
  }

  ListView neighbors(std::int64_t group) const {
    if (slot_[group] >= 0) return view(joined_[slot_[group]].neighbors);
    return {neighbors_.begin(group), neighbors_.end(group)};
  }

  ListView exclusions(std::int64_t group) const {
    if (slot_[group] >= 0) return view(joined_[slot_[group]].exclusions);
    const std::int64_t face = *members_.begin(group);
    return {problem_.exclusions.begin(face), problem_.exclusions.end(face)};
  }

  std::int32_t find(std::int32_t group) {
    while (parent_[group] != group) {
      parent_[group] = parent_[parent_[group]];
      group = parent_[group];
    }
    return group;
  }

  // Gives a group room of its own, filled from its faces and from its row of overlaps.
  void open_slot(std::int64_t group) {
    std::int32_t slot = static_cast<std::int32_t>(joined_.size());
    if (free_.empty()) {
      joined_.emplace_back();
    } else {
      slot = free_.back();
      free_.pop_back();
    }
    Joined& joined = joined_[slot];
    const RowView entries = row(group);
    joined.columns.assign(entries.columns, entries.columns + entries.size);
    joined.values.assign(entries.values, entries.values + entries.size);
    joined.neighbors.clear();
    joined.exclusions.clear();
    joined.vector.assign(static_cast<std::size_t>(problem_.dim), 0.0F);
    for (const std::int32_t* face = members_.begin(group); face != members_.end(group); ++face) {
      const float* x = problem_.x + *face * problem_.dim;
      for (std::int64_t i = 0; i < problem_.dim; ++i) joined.vector[i] += x[i];
      joined.exclusions.insert(joined.exclusions.end(), problem_.exclusions.begin(*face),
                               problem_.exclusions.end(*face));
    }
    slot_[group] = slot;
  }

  // Mean of K over all pairs of the group on the desk and another.
  float similarity(const Desk& desk, std::int64_t group, std::int64_t other) const {
    const double n_pairs = static_cast<double>(sizes_[group]) * static_cast<double>(sizes_[other]);
    const double product = dot(vector(group), vector(other), problem_.dim);
    return mixed(2.0 * (1.0 - product / n_pairs), desk.overlap(row(other)) / n_pairs);
  }

  float mixed(double squared_distance, double overlap) const {
    const double closeness = 1.0 - squared_distance / (problem_.cutoff * problem_.cutoff);
    return static_cast<float>((1.0 - problem_.overlap_weight) * closeness +
                              problem_.overlap_weight * overlap);
  }

  // Scores the pairs of groups that the graph links; those that reach `stop` are neighbours.
  void compare_all() {
    const NeighborLists& graph = problem_.graph;
    const bool all_alone = problem_.n_groups == graph.n;  // so that nobody is met twice
    SparseRows found = build_rows(problem_.n_groups, n_threads_, interrupt_, [&]() -> RowWriter {
      auto desk = std::make_shared<Desk>(problem_.n_groups, problem_.n_exclusions);
      return [&, desk](std::int64_t group, std::vector<std::int32_t>& columns,
                       std::vector<float>& values) {
        desk->lay_open(row(group), exclusions(group));
        desk->meets(group);
        for (const std::int32_t* f = members_.begin(group); f != members_.end(group); ++f) {
          const std::int64_t last = (*f + 1) * graph.k;
          for (std::int64_t e = *f * graph.k; e < last; ++e) {
            if (!(graph.distances[e] < problem_.longest_edge)) continue;
            if (e + kAhead < last) prefetch_row(problem_.labels[graph.indices[e + kAhead]]);
            const std::int32_t other = problem_.labels[graph.indices[e]];
            if (!all_alone && !desk->meets(other)) continue;
            if (sizes_[group] + sizes_[other] < problem_.fewest) continue;
            if (problem_.n_exclusions > 0 && desk->excludes(exclusions(other))) continue;
            // The graph knows how far two faces are apart.
            const double distance = graph.distances[e];
            const float score = all_alone || (sizes_[group] == 1 && sizes_[other] == 1)
                                    ? mixed(distance * distance, desk->overlap(row(other)))
                                    : similarity(*desk, group, other);
            if (score < static_cast<float>(problem_.stop)) continue;
            columns.push_back(other);
            values.push_back(score);
          }
        }
      };
    });
    keep_both_ways(found);
  }

  // The row of overlaps of a group is on its way from memory while others are compared.
  void prefetch_row(std::int64_t group) const {
    const std::int64_t start = overlaps_.offsets[group];
    constexpr std::int64_t kEntries = 48;  // that three lines of the cache hold
    for (std::int64_t e = start; e < start + kEntries; e += 16)
      __builtin_prefetch(overlaps_.columns.data() + e);
  }

  // Makes pairs of what was found from either side, and lists of neighbours of the pairs.
  void keep_both_ways(const SparseRows& found) {
    std::vector<Pair> pairs;
    pairs.reserve(found.columns.size());
    for (std::int64_t group = 0; group < found.size(); ++group) {
      for (std::int64_t e = found.offsets[group]; e < found.offsets[group + 1]; ++e) {
        const auto here = static_cast<std::int32_t>(group);
        const std::int32_t there = found.columns[e];
        pairs.push_back({found.values[e], std::min(here, there), std::max(here, there), 0, -1, 0});
      }
    }
    std::sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) {
      if (a.low != b.low) return a.low < b.low;
      if (a.high != b.high) return a.high < b.high;
      return a.similarity > b.similarity;
    });
    pairs.erase(std::unique(pairs.begin(), pairs.end(),
                            [](const Pair& a, const Pair& b) {
                              return a.low == b.low && a.high == b.high;
                            }),
                pairs.end());
    pairs.shrink_to_fit();

    neighbors_.offsets.assign(static_cast<std::size_t>(problem_.n_groups) + 1, 0);
    for (const Pair& pair : pairs) {
      neighbors_.offsets[pair.low + 1] += 1;
      neighbors_.offsets[pair.high + 1] += 1;
    }
    for (std::int64_t g = 0; g < problem_.n_groups; ++g)
      neighbors_.offsets[g + 1] += neighbors_.offsets[g];
    neighbors_.items.resize(2 * pairs.size());
    std::vector<std::int64_t> next(neighbors_.offsets.begin(), neighbors_.offsets.end() - 1);
    for (const Pair& pair : pairs) {
      neighbors_.items[next[pair.low]++] = pair.high;
      neighbors_.items[next[pair.high]++] = pair.low;
    }
    for (std::int64_t group = 0; group < problem_.n_groups; ++group) {
      if (slot_[group] >= 0)
        joined_[slot_[group]].neighbors.assign(neighbors_.begin(group), neighbors_.end(group));
    }
    std::sort(pairs.begin(), pairs.end(),
              [](const Pair& a, const Pair& b) { return Later{}(b, a); });
    pairs_ = std::move(pairs);
  }

  void join() {
    Desk desk(problem_.n_groups, problem_.n_exclusions);
    std::int64_t n_merges = 0;
    std::size_t next = 0;
    while (next < pairs_.size() || !queue_.empty()) {
      const bool is_queued =
          next == pairs_.size() || (!queue_.empty() && Later{}(pairs_[next], queue_.top()));
      const Pair pair = is_queued ? queue_.top() : pairs_[next++];
      if (is_queued) queue_.pop();
      if (!is_current(pair.low) || !is_current(pair.high) ||
          version_[pair.low] + version_[pair.high] != pair.stamp) {
        // The other end has changed: the owner may have another candidate.
        if (is_queued && is_current(pair.owner) && version_[pair.owner] == pair.owner_version)
          offer(pair.owner);
        continue;
      }
      if (++n_merges % kMergesBetweenQuestions == 0 && interrupt_.stopped()) return;
      merge(desk, pair.low, pair.high);
      compare(desk, pair.low);
    }
  }

  bool is_current(std::int32_t group) const { return parent_[group] == group; }

  // Puts the best candidate of a group into the queue.
  void offer(std::int32_t group) {
    std::vector<Pair>& candidates = joined_[slot_[group]].candidates;
    if (candidates.empty()) return;
    std::pop_heap(candidates.begin(), candidates.end(), Later{});
    queue_.push(candidates.back());
    candidates.pop_back();
  }

  // Puts `other` into `group`.
  void merge(Desk& desk, std::int32_t group, std::int32_t other) {
    if (slot_[group] < 0) {
      const ListView before = neighbors(group);
      open_slot(group);
      joined_[slot_[group]].neighbors.assign(before.begin(), before.end());
    }
    Joined& joined = joined_[slot_[group]];
    const float* added = vector(other);
    for (std::int64_t i = 0; i < problem_.dim; ++i) joined.vector[i] += added[i];
    const RowView entries = row(other);
    desk.lay_open(entries, {nullptr, nullptr});
    for (std::size_t e = 0; e < joined.columns.size(); ++e)
      joined.values[e] += desk.take(joined.columns[e]);
    for (std::int64_t e = 0; e < entries.size; ++e) {
      if (desk.take(entries.columns[e]) == 0) continue;
      joined.columns.push_back(entries.columns[e]);
      joined.values.push_back(entries.values[e]);
    }
    const ListView near = neighbors(other);
    joined.neighbors.insert(joined.neighbors.end(), near.begin(), near.end());
    const ListView excluded = exclusions(other);
    joined.exclusions.insert(joined.exclusions.end(), excluded.begin(), excluded.end());

    parent_[other] = group;
    sizes_[group] += sizes_[other];
    version_[group] += 1;
    version_[other] += 1;
    if (slot_[other] >= 0) {
      free_.push_back(slot_[other]);
      slot_[other] = -1;
    }
  }

  // Scores a group of several faces against its neighbours.  Neighbours met twice, and those that
  // can never be joined, are dropped from its list.
  void compare(Desk& desk, std::int32_t group) {
    std::vector<std::int32_t>& near = joined_[slot_[group]].neighbors;
    std::vector<Pair>& candidates = joined_[slot_[group]].candidates;
    candidates.clear();
    desk.lay_open(row(group), exclusions(group));
    desk.meets(group);
    std::size_t kept = 0;
    for (const std::int32_t named : near) {
      const std::int32_t other = find(named);
      if (!desk.meets(other) || desk.excludes(exclusions(other))) continue;
      near[kept++] = other;
      const float score = similarity(desk, group, other);
      if (score < static_cast<float>(problem_.stop)) continue;
      candidates.push_back({score, std::min(group, other), std::max(group, other),
                            version_[group] + version_[other], group, version_[group]});
    }
    near.resize(kept);
    std::make_heap(candidates.begin(), candidates.end(), Later{});
    offer(group);
  }

  using Queue = std::priority_queue<Pair, std::vector<Pair>, Later>;

  const LinkageProblem& problem_;
  const int n_threads_;
  Interrupt& interrupt_;
  Lists members_;
  SparseRows overlaps_;
  Lists neighbors_;
  std::vector<std::int32_t> parent_;
  std::vector<std::int32_t> version_;
  std::vector<std::int32_t> sizes_;
  std::vector<std::int32_t> slot_;
  std::deque<Joined> joined_;
  std::vector<std::int32_t> free_;
  std::vector<Pair> pairs_;  // of the beginning, best first
  Queue queue_;              // of groups that were joined
};

}  // namespace

std::vector<std::int32_t> average_linkage(const LinkageProblem& problem, int n_threads,
                                          Interrupt& interrupt) {
  return Linkage(problem, n_threads, interrupt).run();
}

}  // namespace fastface
