#include "two_means.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "cpu/dispatch.hpp"

namespace fastface {
namespace {

constexpr int kMaxRounds = 100;
constexpr int kMedianRounds = 50;
constexpr double kTiny = 1e-12;       // a length that is none
constexpr double kSameAnswer = 1e-9;  // relative: starts that meet in one answer differ by rounding

// Calls make()(group) for every group.
template <typename MakeWorker>
void each_group(const RowGroups& groups, int n_threads, Interrupt& interrupt,
                const MakeWorker& make) {
  parallel_for(groups.n_groups, n_threads, interrupt, [&]() -> Worker {
    return [worker = std::make_shared<decltype(make())>(make())](std::int64_t group) {
      (*worker)(group);
    };
  });
}

class SignWorker {
 public:
  SignWorker(const RowGroups& groups, double* signs)
      : groups_(groups),
        signs_(signs),
        distance_(active_kernels().squared_distance[kFloat64][kFloat64]),
        center_(static_cast<std::size_t>(groups.dim)),
        total_(static_cast<std::size_t>(groups.dim)) {}

  void operator()(std::int64_t group) {
    const std::int64_t low = groups_.starts[group];
    const std::int64_t high = groups_.starts[group + 1];
    const std::int64_t dim = groups_.dim;
    find_median(low, high);
    for (std::int64_t i = low; i < high; ++i) {
      const double* row = groups_.rows + i * dim;
      const double length = length_to(row);
      for (std::int64_t j = 0; j < dim; ++j)
        signs_[i * dim + j] = (row[j] - center_[static_cast<std::size_t>(j)]) / length;
    }
  }

 private:
  double length_to(const double* row) const {
    return std::max(std::sqrt(distance_(row, center_.data(), groups_.dim)), kTiny);
  }

  void find_median(std::int64_t low, std::int64_t high) {
    add_weighted(low, high, [](const double*) { return 1.0; });
    for (int round = 0; round < kMedianRounds; ++round)
      add_weighted(low, high, [this](const double* row) { return 1.0 / length_to(row); });
  }

  // The center becomes the weighted mean of the rows.
  template <typename WeightOf>
  void add_weighted(std::int64_t low, std::int64_t high, const WeightOf& weight_of) {
    std::fill(total_.begin(), total_.end(), 0.0);
    double weights = 0.0;
    for (std::int64_t i = low; i < high; ++i) {
      const double* row = groups_.rows + i * groups_.dim;
      const double weight = weight_of(row);
      weights += weight;
      double* __restrict__ total = total_.data();
      for (std::int64_t j = 0; j < groups_.dim; ++j) total[j] += weight * row[j];
    }
    for (std::size_t j = 0; j < center_.size(); ++j) center_[j] = total_[j] / weights;
  }

  const RowGroups& groups_;
  double* signs_;
  double (*distance_)(const void*, const void*, std::int64_t);
  std::vector<double> center_, total_;
};

// Steele et al., "Fast splittable pseudorandom number generators", OOPSLA 2014.
class SplitMix {
 public:
  explicit SplitMix(std::uint64_t seed) : state_(seed) {}

  std::int64_t below(std::int64_t bound) {
    state_ += 0x9E3779B97F4A7C15u;
    std::uint64_t mixed = (state_ ^ (state_ >> 30)) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
    return static_cast<std::int64_t>((mixed ^ (mixed >> 31)) % static_cast<std::uint64_t>(bound));
  }

 private:
  std::uint64_t state_;
};

class DivideWorker {
 public:
  DivideWorker(const RowGroups& groups, std::int64_t n_starts, std::uint64_t seed,
               std::int8_t* sides)
      : groups_(groups),
        n_starts_(n_starts),
        seed_(seed),
        sides_(sides),
        dot_(active_kernels().dot[kFloat64][kFloat64]) {}

  void operator()(std::int64_t group) {
    const std::int64_t low = groups_.starts[group];
    n_ = groups_.starts[group + 1] - low;
    if (n_ == 0) return;
    find_products(low);
    best_.assign(static_cast<std::size_t>(n_), 0);
    side_.resize(static_cast<std::size_t>(n_));
    SplitMix random(seed_);
    double best_score = -1.0;
    const std::int64_t n_pairs = n_ * (n_ - 1) / 2;
    for (std::int64_t start = 0; start < std::min(n_starts_, n_pairs); ++start) {
      std::int64_t first, second;
      if (n_pairs <= n_starts_) {
        // The pair with this number in the order (0, 1), (0, 2), (1, 2), (0, 3), ...
        second = static_cast<std::int64_t>((1.0 + std::sqrt(8.0 * start + 1.0)) / 2.0);
        first = start - second * (second - 1) / 2;
      } else {
        // Two draws without replacement, the second among the rows that are left.
        first = random.below(n_);
        second = (first + 1 + random.below(n_ - 1)) % n_;
      }
      const double score = divide(first, second);
      if (score > best_score + kSameAnswer * std::abs(best_score)) {
        best_score = score;
        best_ = side_;
      }
    }
    for (std::int64_t i = 0; i < n_; ++i)
      sides_[low + i] = static_cast<std::int8_t>(best_[static_cast<std::size_t>(i)] ^ best_[0]);
  }

 private:
  double product(std::int64_t i, std::int64_t j) const {
    return products_[static_cast<std::size_t>(i * n_ + j)];
  }

  void find_products(std::int64_t low) {
    products_.resize(static_cast<std::size_t>(n_ * n_));
    const double* rows = groups_.rows + low * groups_.dim;
    for (std::int64_t i = 0; i < n_; ++i)
      for (std::int64_t j = 0; j <= i; ++j)
        products_[static_cast<std::size_t>(i * n_ + j)] =
            products_[static_cast<std::size_t>(j * n_ + i)] =
                dot_(rows + i * groups_.dim, rows + j * groups_.dim, groups_.dim);
  }

  // Lloyd's iteration from two rows as centers; returns the sum of squares between sides, or -1
  // where one side lost all rows.  With the products of all pairs of rows, a distance to a mean
  // needs only sums of products.
  double divide(std::int64_t first, std::int64_t second) {
    for (std::int64_t i = 0; i < n_; ++i) {
      const double to_first = product(first, first) - 2.0 * product(i, first);
      const double to_second = product(second, second) - 2.0 * product(i, second);
      side_[static_cast<std::size_t>(i)] = to_second < to_first;
    }
    const auto size = static_cast<std::size_t>(n_);
    double count[2], square[2];
    for (int round = 0; round < kMaxRounds; ++round) {
      for (int s = 0; s < 2; ++s) {
        sums_[s].assign(size, 0.0);
        count[s] = square[s] = 0.0;
      }
      for (std::size_t j = 0; j < size; ++j) {
        const int s = side_[j];
        count[s] += 1.0;
        double* __restrict__ sum = sums_[s].data();
        const double* products = products_.data() + j * size;
        for (std::size_t i = 0; i < size; ++i) sum[i] += products[i];
      }
      if (count[0] == 0.0 || count[1] == 0.0) return -1.0;
      for (std::size_t i = 0; i < size; ++i) square[side_[i]] += sums_[side_[i]][i];
      bool changed = false;
      for (std::size_t i = 0; i < size; ++i) {
        const double to_zero = square[0] / (count[0] * count[0]) - 2.0 * sums_[0][i] / count[0];
        const double to_one = square[1] / (count[1] * count[1]) - 2.0 * sums_[1][i] / count[1];
        const std::int8_t nearest = to_one < to_zero;
        changed |= nearest != side_[i];
        side_[i] = nearest;
      }
      if (!changed) break;
    }
    return square[0] / count[0] + square[1] / count[1];
  }

  const RowGroups& groups_;
  std::int64_t n_starts_;
  std::uint64_t seed_;
  std::int8_t* sides_;
  double (*dot_)(const void*, const void*, std::int64_t);
  std::int64_t n_ = 0;  // rows of the group in work
  std::vector<double> products_;
  std::vector<std::int8_t> side_, best_;
  std::vector<double> sums_[2];
};

}  // namespace

void spatial_signs(const RowGroups& groups, double* signs, int n_threads, Interrupt& interrupt) {
  each_group(groups, n_threads, interrupt, [&] { return SignWorker(groups, signs); });
}

void two_means_of_each(const RowGroups& groups, std::int64_t n_starts, std::uint64_t seed,
                       std::int8_t* sides, int n_threads, Interrupt& interrupt) {
  each_group(groups, n_threads, interrupt,
             [&] { return DivideWorker(groups, n_starts, seed, sides); });
}

}  // namespace fastface
