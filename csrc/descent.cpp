#include "descent.hpp"

#include <algorithm>
#include <memory>

#include "cpu/dispatch.hpp"

namespace fastface {
namespace {

constexpr std::int64_t kRowsAtOnce = 128;
constexpr double kSmallest = 1e-30;  // largest value of a row that is all residual

struct Ranked {
  float score;
  std::uint32_t entry;
  bool operator<(const Ranked& other) const {  // better
    if (score != other.score) return score > other.score;
    return (entry & ~kWalked) < (other.entry & ~kWalked);
  }
};

// The choice of one row after the other.
class Chooser {
 public:
  Chooser(const Codes& codes, std::int64_t width)
      : codes_(codes),
        kernels_(active_kernels()),
        width_(static_cast<std::size_t>(width)),
        seen_(static_cast<std::size_t>(codes.rows)) {}

  // Begins with what a row has, as entries of the kind that `mark` is.
  void begin(std::int64_t row, const std::uint32_t* list, std::int64_t n_walked) {
    row_ = row;
    best_.clear();
    bar_ = -kInfinity;
    see(static_cast<std::uint32_t>(row));
    for (std::size_t place = 0; place < width_ && list[place] != kNobody; ++place) {
      consider(list[place] & ~kWalked);
    }
    const std::size_t n = waiting_.size();
    score();
    for (std::size_t i = 0; i < std::min(n, static_cast<std::size_t>(n_walked)); ++i)
      best_[i].entry |= kWalked;
  }

  // Lets a candidate compete, once.
  void consider(std::uint32_t candidate) {
    if (seen_[candidate]) return;
    see(candidate);
    waiting_.push_back(static_cast<std::int32_t>(candidate));
  }

  // Scores whoever has been considered since.
  void score() {
    scores_.resize(waiting_.size());
    kernels_.code_dots(codes_.integers + row_ * codes_.stride, codes_.integers, codes_.stride,
                       waiting_.data(), static_cast<std::int64_t>(waiting_.size()), scores_.data());
    const float scale = codes_.scales[row_];
    for (std::size_t i = 0; i < waiting_.size(); ++i) {
      const std::int32_t candidate = waiting_[i];
      const float score = scale * codes_.scales[candidate] * static_cast<float>(scores_[i]) -
                          codes_.halves[candidate];
      if (score < bar_) continue;
      best_.push_back({score, static_cast<std::uint32_t>(candidate)});
      if (best_.size() >= 3 * width_) shrink();
    }
    waiting_.clear();
  }

  // Writes the list and returns how many entries are yet to be walked.
  std::int64_t finish(std::uint32_t* list) {
    shrink();
    std::sort(best_.begin(), best_.end());
    std::int64_t fresh = 0;
    for (std::size_t place = 0; place < width_; ++place) {
      const bool there = place < best_.size();
      list[place] = there ? best_[place].entry : kNobody;
      fresh += there && (best_[place].entry & kWalked) == 0;
    }
    for (const std::uint32_t candidate : touched_) seen_[candidate] = 0;
    touched_.clear();
    return fresh;
  }

 private:
  void see(std::uint32_t candidate) {
    seen_[candidate] = 1;
    touched_.push_back(candidate);
  }

  void shrink() {
    if (best_.size() <= width_) return;
    std::nth_element(best_.begin(), best_.begin() + static_cast<std::ptrdiff_t>(width_ - 1),
                     best_.end());
    best_.resize(width_);
    bar_ = best_.back().score;
  }

  const Codes& codes_;
  const KernelTable& kernels_;
  std::size_t width_;
  std::vector<char> seen_;
  std::vector<std::uint32_t> touched_;
  std::vector<std::int32_t> waiting_;
  std::vector<std::int32_t> scores_;
  std::vector<Ranked> best_;
  std::int64_t row_ = 0;
  float bar_ = -kInfinity;
};

// Runs `visit(worker's own state, place)` for every place in [0, n).
template <typename State, typename Visit>
void for_rows(std::int64_t n, int n_threads, Interrupt& interrupt,
              const std::function<std::shared_ptr<State>()>& make, const Visit& visit) {
  parallel_for((n + kRowsAtOnce - 1) / kRowsAtOnce, n_threads, interrupt, [&]() -> Worker {
    return [&, state = make()](std::int64_t block) {
      const std::int64_t last = std::min(n, (block + 1) * kRowsAtOnce);
      for (std::int64_t place = block * kRowsAtOnce; place < last; ++place) visit(*state, place);
    };
  });
}

}  // namespace

void encode(const Matrix& x, const std::int32_t* order, const double* shift, std::int8_t* integers,
            float* scales, float* halves, std::int64_t stride, int n_threads,
            Interrupt& interrupt) {
  struct Scratch {
    RowReader read;
    std::vector<double> values;
  };
  for_rows<Scratch>(
      x.rows, n_threads, interrupt,
      [&] {
        return std::make_shared<Scratch>(
            Scratch{RowReader(x), std::vector<double>(static_cast<std::size_t>(x.dim))});
      },
      [&](Scratch& scratch, std::int64_t i) {
        const void* row = scratch.read(order[i]);
        double largest = 0.0;
        double squares = 0.0;
        for (std::int64_t j = 0; j < x.dim; ++j) {
          const double value = value_at(row, x.storage, j) - shift[j];
          scratch.values[static_cast<std::size_t>(j)] = value;
          largest = std::max(largest, std::abs(value));
          squares += value * value;
        }
        const double step = largest > kSmallest ? largest / 127.0 : 0.0;
        const double inverse = step > 0.0 ? 1.0 / step : 0.0;
        std::int8_t* out = integers + i * stride;
        for (std::int64_t j = 0; j < x.dim; ++j)
          out[j] = static_cast<std::int8_t>(
              std::nearbyint(scratch.values[static_cast<std::size_t>(j)] * inverse));
        std::fill(out + x.dim, out + stride, std::int8_t{0});
        scales[i] = static_cast<float>(step);
        halves[i] = static_cast<float>(0.5 * squares);
      });
}

std::int64_t refine(const Codes& codes, const Lists& from, const Lists& to, std::int64_t fan,
                    int n_threads, Interrupt& interrupt) {
  std::atomic<std::int64_t> fresh{0};
  const std::int64_t reach = std::min(fan, from.width);
  for_rows<Chooser>(
      codes.rows, n_threads, interrupt,
      [&] { return std::make_shared<Chooser>(codes, from.width); },
      [&](Chooser& chooser, std::int64_t row) {
        const std::uint32_t* list = from.entries + row * from.width;
        chooser.begin(row, list, reach);
        for (std::int64_t i = 0; i < reach && list[i] != kNobody; ++i) {
          const bool walked = (list[i] & kWalked) != 0;
          const std::uint32_t* other = from.entries + (list[i] & ~kWalked) * from.width;
          if (i + 2 < reach && list[i + 2] != kNobody) {
            const std::uint32_t* soon = from.entries + (list[i + 2] & ~kWalked) * from.width;
            for (std::int64_t j = 0; j < reach; j += 16) __builtin_prefetch(soon + j);
          }
          for (std::int64_t j = 0; j < reach && other[j] != kNobody; ++j)
            if (!(walked && (other[j] & kWalked) != 0)) chooser.consider(other[j] & ~kWalked);
        }
        chooser.score();
        fresh += chooser.finish(to.entries + row * to.width);
      });
  return fresh;
}

void settle(const Matrix& x, const std::int32_t* order, Metric metric, const Lists& lists,
            const std::int32_t* places, std::int64_t n_places, std::int64_t k, float* distances,
            std::int32_t* indices, int n_threads, Interrupt& interrupt) {
  struct Scratch {
    RowReader read_row;
    RowReader read_other;
    std::vector<std::pair<double, std::int32_t>> keys;
  };
  const KernelTable& kernels = active_kernels();
  const Definition definition(kernels, metric, x, x);
  std::vector<double> norms;
  if (metric == Metric::kCosine) {
    RowReader read(x);
    for (std::int64_t i = 0; i < x.rows; ++i)
      norms.push_back(cosine_norm(checked_squared_norm(kernels, x.storage, read(i), x.dim, true)));
  }
  const auto norm = [&](std::int64_t i) {
    return norms.empty() ? 0.0 : norms[static_cast<std::size_t>(i)];
  };
  for_rows<Scratch>(
      n_places, n_threads, interrupt,
      [&] { return std::make_shared<Scratch>(Scratch{RowReader(x), RowReader(x), {}}); },
      [&](Scratch& scratch, std::int64_t i) {
        const std::int64_t row = order[places[i]];
        const void* own = scratch.read_row(row);
        const std::uint32_t* list = lists.entries + places[i] * lists.width;
        scratch.keys.clear();
        for (std::int64_t place = 0; place < lists.width && list[place] != kNobody; ++place) {
          if (place + 4 < lists.width && list[place + 4] != kNobody)
            scratch.read_other.prefetch(order[list[place + 4] & ~kWalked]);
          const std::int32_t other = order[list[place] & ~kWalked];
          const double key = definition.key(own, norm(row), scratch.read_other(other), norm(other));
          scratch.keys.emplace_back(key, other);
        }
        std::sort(scratch.keys.begin(), scratch.keys.end());
        for (std::int64_t place = 0; place < k; ++place) {
          const bool there = place < static_cast<std::int64_t>(scratch.keys.size());
          const auto& found = scratch.keys[static_cast<std::size_t>(there ? place : 0)];
          distances[i * k + place] = there ? definition.distance(found.first) : kInfinity;
          indices[i * k + place] = there ? found.second : -1;
        }
      });
}

}  // namespace fastface
