// What a self-join keeps of each row while groups of candidates pass.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "matrix.hpp"

namespace fastface {

struct Kept {
  float lower, upper;  // bounds of its score
  std::int32_t place;
  bool operator<(const Kept& other) const {  // better
    return lower != other.lower ? lower > other.lower : place < other.place;
  }
};

// The candidates of some rows that may still be among the best of each.
//
// A row's limit is what the last of its best is proven to reach.  Which bucket of scores that one
// is in is counted along, so that the limit rises with every candidate and not only when a full
// list is sorted out.
class Shortlists {
 public:
  Shortlists(std::int64_t rows, std::int64_t wanted, std::int64_t spare)
      : wanted_(static_cast<std::size_t>(wanted)),
        capacity_(static_cast<std::size_t>(wanted + spare)),
        kept_(static_cast<std::size_t>(rows) * capacity_),
        rows_(static_cast<std::size_t>(rows)),
        bars_(static_cast<std::size_t>(rows + kMaxTileRows)) {}

  void open(std::int64_t count) {
    std::fill(bars_.begin(), bars_.end(), kInfinity);  // rows that do not exist want nobody
    std::fill_n(bars_.begin(), count, -kInfinity);
  }
  // `top` is the best score there can be; the true score of a candidate that is wanted may be
  // `margin` below the row's limit.
  void open_row(std::int64_t row, float top, float margin) {
    Row& one = rows_[at(row)];
    one.count = 0;
    one.limit = -kInfinity;
    one.top = top;
    one.margin = margin;
    one.counted = false;
  }

  float* bars() { return bars_.data(); }  // for true scores
  float limit(std::int64_t row) const { return rows_[at(row)].limit; }
  Kept* begin(std::int64_t row) { return kept_.data() + at(row) * capacity_; }
  Kept* end(std::int64_t row) { return begin(row) + rows_[at(row)].count; }
  bool crowded(std::int64_t row) const { return 4 * rows_[at(row)].count > 3 * capacity_; }
  bool full(std::int64_t row) const { return rows_[at(row)].count == capacity_; }

  void add(std::int64_t row, const Kept& one) {
    Row& to = rows_[at(row)];
    begin(row)[to.count++] = one;
    if (to.counted && to.buckets.add(one.lower, wanted_)) raise(row, to.buckets.proven());
  }

  // Drops whoever misses the limit.
  void drop(std::int64_t row) {
    const float limit = rows_[at(row)].limit;
    Kept* const rest =
        std::remove_if(begin(row), end(row), [&](const Kept& kept) { return kept.upper < limit; });
    rows_[at(row)].count = static_cast<std::size_t>(rest - begin(row));
  }

  // Raises the limit as far as can be proven and drops whoever misses it; the best are in front.
  void settle(std::int64_t row) {
    Row& one = rows_[at(row)];
    if (one.count <= wanted_) return;
    Kept* const first = begin(row);
    std::nth_element(first, first + (wanted_ - 1), end(row));
    raise(row, first[wanted_ - 1].lower);
    drop(row);
    one.buckets.open(one.limit, one.top);
    one.counted = true;
    for (Kept* kept = first; kept != end(row); ++kept) one.buckets.add(kept->lower, wanted_);
  }
  // The same, keeping no more than are wanted.
  void cut(std::int64_t row) {
    settle(row);
    rows_[at(row)].count = std::min(rows_[at(row)].count, wanted_);
  }
  // Wants nobody any more.
  void close(std::int64_t row) {
    rows_[at(row)].count = 0;
    rows_[at(row)].counted = false;
    rows_[at(row)].limit = bars_[at(row)] = kInfinity;
  }

 private:
  // How many scores lie in each of some intervals between two bounds.
  class Buckets {
   public:
    void open(float low, float high) {
      std::fill(std::begin(counts_), std::end(counts_), std::uint16_t{0});
      low_ = low;
      width_ = std::max((high - low) / kBuckets, 1e-20f);
      inverse_ = 1.0f / width_;
      lowest_ = above_ = 0;
    }
    // True where a higher bucket is now the one of the last that is wanted.
    bool add(float score, std::size_t wanted) {
      const float place = (score - low_) * inverse_;
      if (!(place >= static_cast<float>(lowest_))) return false;
      const int bucket = place < kBuckets ? static_cast<int>(place) : kBuckets - 1;
      counts_[bucket] += 1;
      above_ += 1;
      const int before = lowest_;
      while (above_ - counts_[lowest_] >= wanted) above_ -= counts_[lowest_++];
      return lowest_ != before;
    }
    // What the last that is wanted reaches, roundings taken off.
    float proven() const {
      return low_ + (static_cast<float>(lowest_) - 0.01f) * width_ - 1e-6f * std::abs(low_);
    }

   private:
    static constexpr int kBuckets = 64;
    float low_, width_, inverse_;
    int lowest_;         // bucket of the last that is wanted
    std::size_t above_;  // how many are in it and higher
    std::uint16_t counts_[kBuckets];
  };
  struct Row {
    std::size_t count;
    float limit, top, margin;
    bool counted;
    Buckets buckets;
  };

  static std::size_t at(std::int64_t row) { return static_cast<std::size_t>(row); }
  void raise(std::int64_t row, float limit) {
    Row& one = rows_[at(row)];
    one.limit = std::max(one.limit, limit);
    bars_[at(row)] = one.limit - one.margin;
  }

  std::size_t wanted_, capacity_;
  std::vector<Kept> kept_;
  std::vector<Row> rows_;
  std::vector<float> bars_;
};

}  // namespace fastface
