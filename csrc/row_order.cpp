#include "row_order.hpp"

#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "cpu/dispatch.hpp"

namespace fastface {
namespace {

constexpr std::int64_t kLeafRows = 16;
constexpr std::int64_t kSample = 32;

struct Node {
  std::int64_t begin, end;
  std::int64_t size() const { return end - begin; }
};

// Where a node is cut, or its beginning where it is not.
std::int64_t cut_of(const Node& node, std::int64_t group) {
  if (node.size() > group) return node.begin + (node.size() + group - 1) / group / 2 * group;
  return node.size() > kLeafRows ? node.begin + node.size() / 2 : node.begin;
}

// Cuts one node after the other.
class Cutter {
 public:
  Cutter(const Matrix& x, std::int32_t* order)
      : x_(x),
        order_(order),
        dot_(active_kernels().dot[x.storage][kFloat64]),
        squared_distance_(active_kernels().squared_distance[x.storage][x.storage]),
        read_(x),
        read_other_(x),
        direction_(static_cast<std::size_t>(x.dim)) {}

  void operator()(const Node& node, std::int64_t cut) {
    if (!find_direction(node)) return;  // duplicates: any cut will do
    keyed_.clear();
    for (std::int64_t place = node.begin; place < node.end; ++place) {
      if (place + kAhead < node.end) read_.prefetch(order_[place + kAhead]);
      keyed_.emplace_back(along(order_[place]), order_[place]);
    }
    std::nth_element(keyed_.begin(), keyed_.begin() + (cut - node.begin), keyed_.end());
    // What nth_element leaves in each half stands in no order of its own.
    std::sort(keyed_.begin(), keyed_.begin() + (cut - node.begin), by_row);
    std::sort(keyed_.begin() + (cut - node.begin), keyed_.end(), by_row);
    for (std::int64_t place = node.begin; place < node.end; ++place)
      order_[place] = keyed_[static_cast<std::size_t>(place - node.begin)].second;
  }

 private:
  using Keyed = std::pair<double, std::int32_t>;
  static constexpr std::int64_t kAhead = 8;
  static bool by_row(const Keyed& a, const Keyed& b) { return a.second < b.second; }

  double along(std::int32_t row) { return dot_(read_(row), direction_.data(), x_.dim); }

  double apart(std::int32_t a, std::int32_t b) {
    return squared_distance_(read_(a), read_other_(b), x_.dim);
  }

  std::int32_t farthest(std::int32_t from) {
    std::int32_t best = from;
    double most = 0;
    for (const std::int32_t row : sample_) {
      const double distance = apart(from, row);
      if (distance > most) {
        most = distance;
        best = row;
      }
    }
    return best;
  }

  // From the mean of one half of a sample to that of the other.
  bool find_direction(const Node& node) {
    const std::int64_t count = std::min(node.size(), kSample);
    sample_.clear();
    for (std::int64_t i = 0; i < count; ++i)
      sample_.push_back(order_[node.begin + i * node.size() / count]);
    const std::int32_t one = farthest(sample_.front());
    const std::int32_t other = farthest(one);
    if (one == other) return false;
    std::fill(direction_.begin(), direction_.end(), 0.0);
    add(other, 1.0);
    add(one, -1.0);
    keyed_.clear();
    for (const std::int32_t row : sample_) keyed_.emplace_back(along(row), row);
    std::sort(keyed_.begin(), keyed_.end());
    std::fill(direction_.begin(), direction_.end(), 0.0);
    const std::size_t half = keyed_.size() / 2;
    for (std::size_t i = 0; i < keyed_.size(); ++i)
      add(keyed_[i].second, i < half ? -1.0 / static_cast<double>(half)
                                     : 1.0 / static_cast<double>(keyed_.size() - half));
    return true;
  }

  void add(std::int32_t row, double weight) {
    const void* values = read_(row);
    for (std::int64_t j = 0; j < x_.dim; ++j)
      direction_[static_cast<std::size_t>(j)] += weight * value_at(values, x_.storage, j);
  }

  const Matrix& x_;
  std::int32_t* order_;
  double (*dot_)(const void*, const void*, std::int64_t);
  double (*squared_distance_)(const void*, const void*, std::int64_t);
  RowReader read_, read_other_;
  std::vector<double> direction_;
  std::vector<std::int32_t> sample_;
  std::vector<Keyed> keyed_;
};

}  // namespace

void order_rows(const Matrix& x, std::int64_t group, std::int32_t* order, int n_threads,
                Interrupt& interrupt) {
  std::iota(order, order + x.rows, 0);
  std::vector<Node> level{{0, x.rows}};
  while (!level.empty() && !interrupt.stopped()) {
    parallel_for(static_cast<std::int64_t>(level.size()), n_threads, interrupt, [&]() -> Worker {
      return [&, cutter = std::make_shared<Cutter>(x, order)](std::int64_t number) {
        const Node& node = level[static_cast<std::size_t>(number)];
        const std::int64_t cut = cut_of(node, group);
        if (cut > node.begin) (*cutter)(node, cut);
      };
    });
    std::vector<Node> next;
    for (const Node& node : level) {
      const std::int64_t cut = cut_of(node, group);
      if (cut == node.begin) continue;
      next.push_back({node.begin, cut});
      next.push_back({cut, node.end});
    }
    level = std::move(next);
  }
}

}  // namespace fastface
