#include "links.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <memory>
#include <numeric>

namespace fastface {
namespace {

constexpr std::int64_t kVisitsBetweenQuestions = 4096;

// For one face at a time: the place of every face in its list, itself the first.
class Places {
 public:
  explicit Places(std::int64_t n) : place_(static_cast<std::size_t>(n), -1) {}

  void open(const NeighborLists& graph, std::int64_t face, std::int64_t k) {
    for (const std::int32_t one : listed_) place_[one] = -1;
    listed_.assign(1, static_cast<std::int32_t>(face));
    listed_.insert(listed_.end(), graph.indices + face * graph.k,
                   graph.indices + face * graph.k + k);
    for (std::size_t i = 0; i < listed_.size(); ++i)
      place_[listed_[i]] = static_cast<std::int32_t>(i);
  }

  // The place, or -1.
  std::int32_t operator[](std::int64_t face) const { return place_[face]; }

 private:
  std::vector<std::int32_t> place_;
  std::vector<std::int32_t> listed_;
};

bool disjoint(const std::vector<std::int32_t>& a, const std::vector<std::int32_t>& b) {
  auto i = a.begin();
  auto j = b.begin();
  while (i != a.end() && j != b.end()) {
    if (*i == *j) return false;
    if (*i < *j) {
      ++i;
    } else {
      ++j;
    }
  }
  return true;
}

}  // namespace

SparseRows probable_links(const NeighborLists& graph, std::int64_t k, double sigma, double farthest,
                          double theta, int n_threads, Interrupt& interrupt) {
  // What a face gives itself, and one over the sum of its weights.
  std::vector<double> scale(static_cast<std::size_t>(graph.n));
  const auto weight = [&](std::int64_t face, std::int64_t place) {
    if (place == 0) return 1.0;
    const double distance = graph.distances[face * graph.k + place - 1];
    return distance < farthest ? std::exp(-distance * distance / sigma) : 0.0;
  };
  for (std::int64_t face = 0; face < graph.n; ++face) {
    double total = 0;
    for (std::int64_t place = 0; place <= k; ++place) total += weight(face, place);
    scale[face] = 1 / total;
  }
  return build_rows(graph.n, n_threads, interrupt, [&]() -> RowWriter {
    auto places = std::make_shared<Places>(graph.n);
    return [&, places, own = std::vector<double>()](std::int64_t face,
                                                    std::vector<std::int32_t>& columns,
                                                    std::vector<float>& values) mutable {
      places->open(graph, face, k);
      own.clear();
      for (std::int64_t place = 0; place <= k; ++place)
        own.push_back(weight(face, place) * scale[face]);
      for (std::int64_t rank = 0; rank < k; ++rank) {
        if (!(graph.distances[face * graph.k + rank] < farthest)) break;
        const std::int32_t other = graph.indices[face * graph.k + rank];
        double probability = 0;
        for (std::int64_t place = 0; place <= k; ++place) {
          const std::int32_t common =
              place == 0 ? other : graph.indices[other * graph.k + place - 1];
          const std::int32_t here = (*places)[common];
          if (here < 0) continue;
          const double there = weight(other, place) * scale[other];
          // Who is too far from either is no neighbour of both.
          if (own[here] > 0 && there > 0) probability += (own[here] + there) / 2;
        }
        if (probability < theta) break;
        columns.push_back(other);
        values.push_back(static_cast<float>(probability));
      }
    };
  });
}

SparseRows rank_order_links(const NeighborLists& graph, std::int64_t k, double threshold,
                            int n_threads, Interrupt& interrupt) {
  return build_rows(graph.n, n_threads, interrupt, [&]() -> RowWriter {
    auto places = std::make_shared<Places>(graph.n);
    return [&, places](std::int64_t face, std::vector<std::int32_t>& columns,
                       std::vector<float>& values) {
      places->open(graph, face, k);
      for (std::int64_t rank = 1; rank <= k; ++rank) {
        const std::int32_t other = graph.indices[face * graph.k + rank - 1];
        const std::int32_t* list = graph.indices + other * graph.k;
        const std::int32_t* found = std::find(list, list + k, static_cast<std::int32_t>(face));
        if (found == list + k) continue;  // not in each other's lists
        if (other < face) continue;       // seen from its side
        const std::int64_t back = found - list + 1;
        // Of the first `rank` of this face's list, how many the other's lacks; and the reverse.
        std::int64_t lacking = rank - 1;  // the other itself is in its own list
        std::int64_t lacking_back = back - 1;
        for (std::int64_t place = 1; place <= k; ++place) {
          const std::int32_t here = (*places)[list[place - 1]];
          if (here < 0 || list[place - 1] == face) continue;
          if (here <= rank) lacking -= 1;
          if (place <= back) lacking_back -= 1;
        }
        const double distance =
            static_cast<double>(lacking + lacking_back) / static_cast<double>(std::min(rank, back));
        if (!(distance < threshold)) continue;
        columns.push_back(other);
        values.push_back(static_cast<float>(distance));
      }
    };
  });
}

std::vector<std::int32_t> join_links(std::int64_t n, const std::int32_t* first,
                                     const std::int32_t* second, std::int64_t n_links,
                                     const Lists& exclusions) {
  std::vector<std::int32_t> parent(static_cast<std::size_t>(n));
  std::iota(parent.begin(), parent.end(), 0);
  std::vector<std::vector<std::int32_t>> excluded(static_cast<std::size_t>(n));
  for (std::int64_t item = 0; item < n; ++item) {
    excluded[item].assign(exclusions.begin(item), exclusions.end(item));
    std::sort(excluded[item].begin(), excluded[item].end());
  }
  const auto find = [&](std::int32_t item) {
    while (parent[item] != item) item = parent[item] = parent[parent[item]];
    return item;
  };
  std::vector<std::int32_t> both;
  for (std::int64_t link = 0; link < n_links; ++link) {
    const std::int32_t a = find(first[link]);
    const std::int32_t b = find(second[link]);
    if (a == b || !disjoint(excluded[a], excluded[b])) continue;
    const std::int32_t low = std::min(a, b);
    both.clear();
    std::merge(excluded[a].begin(), excluded[a].end(), excluded[b].begin(), excluded[b].end(),
               std::back_inserter(both));
    parent[std::max(a, b)] = low;
    excluded[std::max(a, b)] = {};
    excluded[low] = both;
  }
  for (std::int64_t item = 0; item < n; ++item)
    parent[item] = find(static_cast<std::int32_t>(item));
  return parent;
}

std::vector<std::int32_t> chinese_whispers(const SparseRows& network, const Lists& exclusions,
                                           std::int64_t n_exclusions, const std::int64_t* order,
                                           int max_sweeps, Interrupt& interrupt) {
  const std::int64_t n = network.size();
  std::vector<std::int32_t> labels(static_cast<std::size_t>(n));
  std::iota(labels.begin(), labels.end(), 0);
  const Lists excluded = transposed(exclusions, n_exclusions);
  std::vector<double> votes(static_cast<std::size_t>(n), 0.0);
  std::int64_t visits = 0;
  bool changed = true;
  for (int sweep = 0; sweep < max_sweeps && changed; ++sweep) {
    changed = false;
    for (std::int64_t turn = 0; turn < n; ++turn) {
      const std::int64_t node = order[turn];
      if (++visits % kVisitsBetweenQuestions == 0 && interrupt.stopped()) return labels;
      const std::int64_t start = network.offsets[node];
      const std::int64_t stop = network.offsets[node + 1];
      for (std::int64_t e = start; e < stop; ++e)
        votes[labels[network.columns[e]]] += static_cast<double>(network.values[e]);
      // Labels held in the same photo cannot be taken.
      for (const std::int32_t* id = exclusions.begin(node); id != exclusions.end(node); ++id)
        for (const std::int32_t* mate = excluded.begin(*id); mate != excluded.end(*id); ++mate)
          if (*mate != node) votes[labels[*mate]] = 0;
      std::int32_t best = labels[node];
      double most = votes[best];
      for (std::int64_t e = start; e < stop; ++e) {
        const std::int32_t label = labels[network.columns[e]];
        if (votes[label] > most || (votes[label] == most && most > 0 && label < best)) {
          best = label;
          most = votes[label];
        }
      }
      for (std::int64_t e = start; e < stop; ++e) votes[labels[network.columns[e]]] = 0;
      changed = changed || best != labels[node];
      labels[node] = best;
    }
  }
  return labels;
}

}  // namespace fastface
