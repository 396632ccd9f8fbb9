#include "map_equation.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "shuffle.hpp"

namespace fastface {
namespace {

constexpr double kLeastGain = 1e-10;  // bits; what rounding may feign is smaller
constexpr int kMostSweeps = 200;      // of one level
constexpr int kMostRefinements = 20;
constexpr std::int64_t kVisitsBetweenQuestions = 4096;

double plogp(double p) { return p > 0 ? p * std::log2(p) : 0.0; }

// A network whose links carry shares of all flow.  After merging, nodes stand for modules.
struct FlowNetwork {
  std::vector<std::int64_t> offsets;
  std::vector<std::int32_t> targets;
  std::vector<double> flows;
  std::vector<double> node_flow;  // how often the walker is at the node
  std::vector<double> exit_flow;  // how often it leaves for another
  Lists exclusions;               // of each node
  Lists excluded;                 // nodes of each exclusion

  std::int64_t size() const { return static_cast<std::int64_t>(node_flow.size()); }
};

void sum_exits(FlowNetwork& network) {
  network.exit_flow.assign(network.node_flow.size(), 0.0);
  for (std::int64_t node = 0; node < network.size(); ++node)
    for (std::int64_t e = network.offsets[node]; e < network.offsets[node + 1]; ++e)
      network.exit_flow[node] += network.flows[e];
}

FlowNetwork flow_network(const SparseRows& links, const Lists& exclusions,
                         std::int64_t n_exclusions) {
  FlowNetwork network;
  network.offsets = links.offsets;
  network.targets = links.columns;
  const double total = std::accumulate(links.values.begin(), links.values.end(), 0.0);
  network.flows.resize(links.values.size());
  for (std::size_t e = 0; e < links.values.size(); ++e)
    network.flows[e] = static_cast<double>(links.values[e]) / total;
  network.node_flow.assign(static_cast<std::size_t>(links.size()), 0.0);
  sum_exits(network);
  network.node_flow = network.exit_flow;
  network.exclusions = exclusions;
  network.excluded = transposed(exclusions, n_exclusions);
  return network;
}

// Nodes of `network` become one where they bear one label.
FlowNetwork merged(const FlowNetwork& network, const std::vector<std::int32_t>& labels,
                   std::int64_t n_labels) {
  const Lists members = members_of(labels.data(), network.size(), n_labels);
  FlowNetwork result;
  result.offsets.assign(1, 0);
  result.node_flow.assign(static_cast<std::size_t>(n_labels), 0.0);
  std::vector<double> sums(static_cast<std::size_t>(n_labels), 0.0);
  std::vector<std::int32_t> met;
  for (std::int64_t label = 0; label < n_labels; ++label) {
    met.clear();
    const auto start = static_cast<std::int64_t>(result.exclusions.items.size());
    for (const std::int32_t* node = members.begin(label); node != members.end(label); ++node) {
      result.node_flow[label] += network.node_flow[*node];
      for (std::int64_t e = network.offsets[*node]; e < network.offsets[*node + 1]; ++e) {
        const std::int32_t other = labels[network.targets[e]];
        if (other == label) continue;
        if (sums[other] == 0) met.push_back(other);
        sums[other] += network.flows[e];
      }
      result.exclusions.items.insert(result.exclusions.items.end(), network.exclusions.begin(*node),
                                     network.exclusions.end(*node));
    }
    for (const std::int32_t other : met) {
      result.targets.push_back(other);
      result.flows.push_back(sums[other]);
      sums[other] = 0;
    }
    result.offsets.push_back(static_cast<std::int64_t>(result.targets.size()));
    // Of nodes that must be one, several may be in one photo: it counts once.
    std::vector<std::int32_t>& ids = result.exclusions.items;
    std::sort(ids.begin() + start, ids.end());
    ids.erase(std::unique(ids.begin() + start, ids.end()), ids.end());
    result.exclusions.offsets.push_back(static_cast<std::int64_t>(ids.size()));
  }
  result.excluded = transposed(result.exclusions, network.excluded.size());
  sum_exits(result);
  return result;
}

// Modules of one network and the terms of its code length.
class Modules {
 public:
  Modules(const FlowNetwork& network, std::vector<std::int32_t> labels)
      : network_(network),
        labels_(std::move(labels)),
        flow_(labels_.size(), 0.0),
        exit_(labels_.size(), 0.0),
        size_(labels_.size(), 0),
        between_(labels_.size(), 0.0),
        forbidden_(labels_.size(), -1) {
    for (std::int64_t node = 0; node < network.size(); ++node) {
      const std::int32_t module = labels_[node];
      flow_[module] += network.node_flow[node];
      size_[module] += 1;
      for (std::int64_t e = network.offsets[node]; e < network.offsets[node + 1]; ++e)
        if (labels_[network.targets[e]] != module) exit_[module] += network.flows[e];
    }
    for (const double exit : exit_) total_exit_ += exit;
    for (std::size_t module = size_.size(); module-- > 0;)
      if (size_[module] == 0) empty_.push_back(static_cast<std::int32_t>(module));
  }

  const std::vector<std::int32_t>& labels() const { return labels_; }

  // Moves nodes, in an order drawn anew for every sweep, to where the code is shortest; returns
  // the bits that were gained.
  double sweep_until_still(std::uint64_t seed, Interrupt& interrupt) {
    std::vector<std::int32_t> waiting(labels_.size());
    std::iota(waiting.begin(), waiting.end(), 0);
    std::vector<char> is_next(labels_.size(), 0);
    std::vector<std::int32_t> next;
    double gain = 0;
    std::int64_t visits = 0;
    for (int sweep = 0; sweep < kMostSweeps && !waiting.empty(); ++sweep) {
      shuffle(waiting, seed + static_cast<std::uint64_t>(sweep));
      next.clear();
      for (const std::int32_t node : waiting) {
        if (++visits % kVisitsBetweenQuestions == 0 && interrupt.stopped()) return gain;
        const double gained = move_to_best(node);
        if (gained <= 0) continue;
        gain += gained;
        // Only who has a neighbour that moved may have a better place now.
        for (std::int64_t e = network_.offsets[node]; e < network_.offsets[node + 1]; ++e) {
          const std::int32_t other = network_.targets[e];
          if (!is_next[other] && labels_[other] != labels_[node]) {
            is_next[other] = 1;
            next.push_back(other);
          }
        }
      }
      std::sort(next.begin(), next.end());
      for (const std::int32_t node : next) is_next[node] = 0;
      waiting.swap(next);
    }
    return gain;
  }

 private:
  double move_to_best(std::int32_t node) {
    const std::int32_t home = labels_[node];
    met_.clear();
    for (std::int64_t e = network_.offsets[node]; e < network_.offsets[node + 1]; ++e) {
      const std::int32_t module = labels_[network_.targets[e]];
      if (between_[module] == 0) met_.push_back(module);
      between_[module] += network_.flows[e];
    }
    for (const std::int32_t* id = network_.exclusions.begin(node);
         id != network_.exclusions.end(node); ++id)
      for (const std::int32_t* mate = network_.excluded.begin(*id);
           mate != network_.excluded.end(*id); ++mate)
        if (*mate != node) forbidden_[labels_[*mate]] = node;
    if (size_[home] > 1 && !empty_.empty()) met_.push_back(empty_.back());

    std::int32_t best = home;
    double most = kLeastGain;
    for (const std::int32_t module : met_) {
      if (module == home || forbidden_[module] == node) continue;
      const double gain = gain_of(node, home, module);
      if (gain > most || (gain == most && best != home && module < best)) {
        best = module;
        most = gain;
      }
    }
    if (best != home) move(node, home, best);
    for (const std::int32_t module : met_) between_[module] = 0;
    return best == home ? 0.0 : most;
  }

  // Bits saved if a node went from one module to another.
  double gain_of(std::int32_t node, std::int32_t from, std::int32_t to) const {
    const double exit = network_.exit_flow[node];
    const double flow = network_.node_flow[node];
    const double exit_from = exit_[from] - exit + 2 * between_[from];
    const double exit_to = exit_[to] + exit - 2 * between_[to];
    const double total = total_exit_ + exit_from - exit_[from] + exit_to - exit_[to];
    const double before = plogp(total_exit_) - 2 * (plogp(exit_[from]) + plogp(exit_[to])) +
                          plogp(exit_[from] + flow_[from]) + plogp(exit_[to] + flow_[to]);
    const double after = plogp(total) - 2 * (plogp(exit_from) + plogp(exit_to)) +
                         plogp(exit_from + flow_[from] - flow) + plogp(exit_to + flow_[to] + flow);
    return before - after;
  }

  void move(std::int32_t node, std::int32_t from, std::int32_t to) {
    const double exit = network_.exit_flow[node];
    const double flow = network_.node_flow[node];
    const double out_of = 2 * between_[from] - exit;
    const double into = exit - 2 * between_[to];
    exit_[from] += out_of;
    exit_[to] += into;
    total_exit_ += out_of + into;
    flow_[from] -= flow;
    flow_[to] += flow;
    if (size_[to] == 0) empty_.pop_back();  // only the last empty one is ever offered
    size_[to] += 1;
    size_[from] -= 1;
    if (size_[from] == 0) {
      exit_[from] = flow_[from] = 0;  // rid of rounding
      empty_.push_back(from);
    }
    labels_[node] = to;
  }

  const FlowNetwork& network_;
  std::vector<std::int32_t> labels_;
  std::vector<double> flow_;
  std::vector<double> exit_;
  std::vector<std::int32_t> size_;
  std::vector<double> between_;          // flow from the node at hand to each module
  std::vector<std::int32_t> forbidden_;  // to the node that stands here
  std::vector<std::int32_t> met_;
  std::vector<std::int32_t> empty_;
  double total_exit_ = 0;
};

// Numbers labels by first appearance; returns how many there are.
std::int64_t renumber(std::vector<std::int32_t>& labels) {
  std::vector<std::int32_t> number(labels.size(), -1);
  std::int32_t count = 0;
  for (std::int32_t& label : labels) {
    if (number[label] < 0) number[label] = count++;
    label = number[label];
  }
  return count;
}

// Lets whole modules move and merge until none gains by it.
void merge_modules(const FlowNetwork& leaves, std::vector<std::int32_t>& labels, std::uint64_t seed,
                   Interrupt& interrupt) {
  std::int64_t count = renumber(labels);
  while (!interrupt.stopped()) {
    const FlowNetwork level = merged(leaves, labels, count);
    std::vector<std::int32_t> each(static_cast<std::size_t>(count));
    std::iota(each.begin(), each.end(), 0);
    Modules modules(level, std::move(each));
    if (modules.sweep_until_still(seed += kMostSweeps, interrupt) == 0) return;
    std::vector<std::int32_t> above = modules.labels();
    for (std::int32_t& label : labels) label = above[label];
    count = renumber(labels);
  }
}

double length_of(const FlowNetwork& network, const std::int32_t* labels, std::int64_t n_labels) {
  std::vector<double> flow(static_cast<std::size_t>(n_labels), 0.0);
  std::vector<double> exit(static_cast<std::size_t>(n_labels), 0.0);
  double length = 0;
  for (std::int64_t node = 0; node < network.size(); ++node) {
    flow[labels[node]] += network.node_flow[node];
    length -= plogp(network.node_flow[node]);
    for (std::int64_t e = network.offsets[node]; e < network.offsets[node + 1]; ++e)
      if (labels[network.targets[e]] != labels[node]) exit[labels[node]] += network.flows[e];
  }
  double total = 0;
  for (std::int64_t module = 0; module < n_labels; ++module) {
    total += exit[module];
    length += plogp(exit[module] + flow[module]) - 2 * plogp(exit[module]);
  }
  return length + plogp(total);
}

}  // namespace

Communities map_equation(const SparseRows& network, const Lists& exclusions,
                         std::int64_t n_exclusions, std::uint64_t seed, Interrupt& interrupt) {
  const std::int64_t n = network.size();
  Communities result{std::vector<std::int32_t>(static_cast<std::size_t>(n)), 0.0};
  std::iota(result.labels.begin(), result.labels.end(), 0);
  if (network.columns.empty()) return result;
  const FlowNetwork leaves = flow_network(network, exclusions, n_exclusions);
  std::uint64_t stream = seed << 32;
  // First every node is a module; then single nodes may leave the modules that were found.
  for (int round = 0; round < kMostRefinements && !interrupt.stopped(); ++round) {
    Modules modules(leaves, result.labels);
    const double gain = modules.sweep_until_still(stream += kMostSweeps, interrupt);
    result.labels = modules.labels();
    merge_modules(leaves, result.labels, stream += kMostSweeps * kMostSweeps, interrupt);
    if (gain == 0 && round > 0) break;
  }
  const std::int64_t count = renumber(result.labels);
  result.code_length = length_of(leaves, result.labels.data(), count);
  return result;
}

double code_length(const SparseRows& network, const std::int32_t* labels, std::int64_t n_labels) {
  if (network.columns.empty()) return 0.0;
  return length_of(
      flow_network(
          network,
          Lists{std::vector<std::int64_t>(static_cast<std::size_t>(network.size()) + 1, 0), {}}, 0),
      labels, n_labels);
}

}  // namespace fastface
