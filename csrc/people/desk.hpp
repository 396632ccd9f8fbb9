// Rows of overlaps and lists of one group, and a desk to compare many others with it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace fastface {

struct RowView {
  const std::int32_t* columns;
  const float* values;
  std::int64_t size;
};

struct ListView {
  const std::int32_t* first;
  const std::int32_t* last;
  const std::int32_t* begin() const { return first; }
  const std::int32_t* end() const { return last; }
};

inline ListView view(const std::vector<std::int32_t>& items) {
  return {items.data(), items.data() + items.size()};
}

// One group laid open, so that many others can be compared with it quickly.
class Desk {
 public:
  Desk(std::int64_t n_groups, std::int64_t n_exclusions)
      : row_(static_cast<std::size_t>(n_groups), 0.0F),
        met_(static_cast<std::size_t>(n_groups), 0),
        excluded_(static_cast<std::size_t>(n_exclusions), 0) {}

  void lay_open(const RowView& row, const ListView& exclusions) {
    clear();
    tick_ += 1;
    open_.assign(row.columns, row.columns + row.size);
    for (std::int64_t e = 0; e < row.size; ++e) row_[row.columns[e]] = row.values[e];
    for (const std::int32_t id : exclusions) excluded_[id] = tick_;
  }

  void clear() {
    for (const std::int32_t column : open_) row_[column] = 0;
    open_.clear();
  }

  // Whether a group is met for the first time since another was laid open.
  bool meets(std::int64_t group) { return std::exchange(met_[group], tick_) != tick_; }

  bool excludes(const ListView& exclusions) const {
    return std::any_of(exclusions.begin(), exclusions.end(),
                       [this](std::int32_t id) { return excluded_[id] == tick_; });
  }

  double overlap(const RowView& other) const {
    double sum = 0;
    for (std::int64_t e = 0; e < other.size; ++e) {
      sum += static_cast<double>(row_[other.columns[e]]) * static_cast<double>(other.values[e]);
    }
    return sum;
  }

  // The entry of a column, which is given away: it is read once.
  float take(std::int32_t column) { return std::exchange(row_[column], 0.0F); }

 private:
  std::vector<float> row_;
  std::vector<std::int64_t> met_;
  std::vector<std::int64_t> excluded_;
  std::vector<std::int32_t> open_;
  std::int64_t tick_ = 0;
};

}  // namespace fastface
