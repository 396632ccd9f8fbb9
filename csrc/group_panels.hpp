// Centers packed a group side by side, in the layout that tiles of groups read.
#pragma once

#include <vector>

#include "panels.hpp"

namespace fastface {

// Rounds a row to the integers that tiles of groups read, and notes in its record what that took
// and lost.  `rounded` has room for 16 more than `padded_dim`.
void round_row(const KernelTable& kernels, const float* values, std::int64_t padded_dim,
               std::int8_t* rounded, std::uint8_t* out, RowRecord& record);

class GroupPanels {
 public:
  // Packs the candidates of the screen, `group_width` of them a group, by several threads.  Scores
  // are less by `biases`, for which there is no allowance in bounds; by default, by the half
  // squares.
  GroupPanels(const Screen& screen, Precision precision, int n_threads, Interrupt& interrupt,
              const std::vector<double>* biases = nullptr);

  Precision precision() const { return precision_; }
  std::int64_t n_groups() const { return n_groups_; }
  std::int64_t padded_dim() const { return padded_dim_; }

  // Half the squared norm of a center as the screen scales it; zero unless Euclidean.
  double half_squares(std::int64_t center) const {
    return half_squares_[static_cast<std::size_t>(center)];
  }

  // Lets a tile read a group.
  void show(std::int64_t group, GroupTile& tile) const;

 private:
  struct Scratch;
  void pack(std::int64_t group, const std::vector<double>* biases, Scratch& scratch);
  double pack_integers(std::int64_t group, Scratch& scratch);

  const Screen* screen_;
  Precision precision_;
  int width_;
  std::int64_t padded_dim_;
  std::int64_t n_groups_;
  Aligned<float> values_;
  Aligned<std::int8_t> integers_;
  std::vector<float> scales_;
  std::vector<std::int32_t> starts_;
  std::vector<float> biases_;
  std::vector<double> half_squares_;
  std::vector<ErrorBound> bounds_;
};

}  // namespace fastface
