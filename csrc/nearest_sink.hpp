// What a search for the k nearest keeps of each row while the panels pass.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "sweep.hpp"

namespace fastface {

struct Survivor {
  float lower;  // bounds of its score
  float upper;
  std::int32_t index;
};

// Keeps, for every row of a block, each candidate that may still be among the k nearest.
template <bool kSingleNearest>
class NearestSink {
 public:
  static constexpr bool kRaising = kSingleNearest;

  static std::int64_t capacity(std::int64_t k, Precision precision) {
    return precision == Precision::kInt8 ? 6 * k + 58 : 2 * k + 30;
  }
  static std::int64_t bytes_per_row(std::int64_t k, Precision precision) {
    return capacity(k, precision) * static_cast<std::int64_t>(sizeof(Survivor));
  }

  // Replaces the bounds of some survivors of a row by their exact scores.
  using Sharpen = std::function<void(std::int64_t row, Survivor* begin, Survivor* end)>;

  NearestSink(std::int64_t rows, std::int64_t k, Precision precision, Sharpen sharpen)
      : k_(k),
        capacity_(capacity(k, precision)),
        sharpen_(std::move(sharpen)),
        bars_(static_cast<std::size_t>(rows + kMaxTileRows)),
        slacks_(nullptr),
        counts_(static_cast<std::size_t>(rows)),
        crowded_(static_cast<std::size_t>(rows)),
        kept_(static_cast<std::size_t>(rows * capacity_)) {}

  void open(const Block& block) {
    slacks_ = block.slacks();
    std::fill(bars_.begin(), bars_.end(), kInfinity);  // rows that do not exist want nobody
    std::fill(counts_.begin(), counts_.end(), std::int32_t{0});
    std::fill(crowded_.begin(), crowded_.end(), char{0});
    for (std::int64_t row = 0; row < block.count(); ++row) {
      if (block.loaded(row).blind)
        crowd(row);
      else
        bars_[static_cast<std::size_t>(row)] = -kInfinity;
    }
  }

  float* bars() { return bars_.data(); }

  void add(std::int64_t row, float score, float error, std::int32_t index) {
    const auto at = static_cast<std::size_t>(row);
    const Survivor survivor{score - error, score + error, index};
    if (survivor.upper < bars_[at]) return;  // raised since the tile was scored
    kept_[static_cast<std::size_t>(row * capacity_ + counts_[at]++)] = survivor;
    if (counts_[at] == capacity_) make_room(row);
  }

  // Drops what can no longer be among the k nearest, and leaves the k best in front.
  void compact(std::int64_t row) {
    const auto at = static_cast<std::size_t>(row);
    Survivor* kept = kept_.data() + row * capacity_;
    std::int32_t& count = counts_[at];
    if (count > k_) {
      const auto better = [](const Survivor& a, const Survivor& b) { return a.lower > b.lower; };
      if (kSingleNearest)
        std::iter_swap(kept, std::min_element(kept, kept + count, better));
      else
        std::nth_element(kept, kept + (k_ - 1), kept + count, better);
      const float proven = kept[k_ - 1].lower;
      bars_[at] = std::max(bars_[at], proven - (slacks_[at] + kBarSlack * std::abs(proven)));
      const float bar = bars_[at];
      count = static_cast<std::int32_t>(
          std::remove_if(kept, kept + count, [&](const Survivor& s) { return s.upper < bar; }) -
          kept);
    }
  }

  bool crowded(std::int64_t row) const { return crowded_[static_cast<std::size_t>(row)] != 0; }
  Survivor* begin(std::int64_t row) { return kept_.data() + row * capacity_; }
  Survivor* end(std::int64_t row) { return begin(row) + counts_[static_cast<std::size_t>(row)]; }
  float bar(std::int64_t row) const { return bars_[static_cast<std::size_t>(row)]; }

 private:
  void make_room(std::int64_t row) {
    const auto at = static_cast<std::size_t>(row);
    const auto full = static_cast<std::int32_t>(capacity_ - capacity_ / 4);
    compact(row);
    if (counts_[at] <= full) return;
    // Exact scores in place of bounds raise the bar and drop more.
    sharpen_(row, begin(row), end(row));
    compact(row);
    if (counts_[at] > full) crowd(row);  // too many near ties
  }

  void crowd(std::int64_t row) {
    const auto at = static_cast<std::size_t>(row);
    crowded_[at] = 1;
    counts_[at] = 0;
    bars_[at] = kInfinity;
  }

  std::int64_t k_;
  std::int64_t capacity_;
  Sharpen sharpen_;
  std::vector<float> bars_;
  const float* slacks_;
  std::vector<std::int32_t> counts_;
  std::vector<char> crowded_;
  std::vector<Survivor> kept_;
};

}  // namespace fastface
