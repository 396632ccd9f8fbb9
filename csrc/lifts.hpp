// How far the bounds of a row go up when the centers of its groups move.
//
// A center that goes from b to b + d gives a row a the score <a, d> - D more, where D is half of
// what |b|^2 grows by.  Seen from a pivot p that is <a - p, d> + (<p, d> - D): the first is at most
// |a - p| |d|, the second is the same for all rows of the pivot.  The nearer the pivot, the less is
// given away: it is the center that a row belongs to, where that was before, unless there are too
// many centers to look at each from each, and then the origin of the frame (docs/exactness.md).
#pragma once

#include <algorithm>
#include <vector>

#include "group_panels.hpp"

namespace fastface {

// What float64 may lose, per feature, of a scalar product of unit vectors or of their norms.
constexpr double kCosineSlack = 1e-14;

// What has become of the centers since the last pass, in the frame of the screen.
struct CenterMoves {
  std::vector<double> moves;  // how far, at most
  std::vector<double> gains;  // by how much, at most, scores rise for their being nearer the origin
  std::vector<double> losses;  // by how much, at most, those of own rows fall but for the radius
  std::vector<float> deltas;   // [centers][dim], where to; empty if nobody asks
};

class Lifts {
 public:
  Lifts() = default;

  // Of centers that are the screen's candidates by now, packed as `panels`.  Radii are taken to be
  // `least_radius` or more.  Pivots are the centers if the moves tell where those went.
  Lifts(const Screen& screen, const GroupPanels& panels, const CenterMoves& moves,
        float least_radius, int n_threads, Interrupt& interrupt);

  // Whether pivots at the centers pay.
  static bool from_centers(std::int64_t n_rows, std::int64_t n_centers) {
    return n_centers * kRowsOfACenter <= n_rows;
  }

  // Bytes that the table takes at most for a row.
  static std::int64_t bytes_per_row(std::int64_t n_groups) {
    return 4 * n_groups / kRowsOfACenter + 1;
  }

  // At least the distance from its pivot of a row whose own center reached `bar` before it moved.
  static float radius(const Screen& screen, bool from_centers, float norm, float bar);

  float radius(const Screen& screen, float norm, float bar) const {
    return std::max(least_radius_, radius(screen, from_centers_, norm, bar));
  }

  // For every group: what is to be multiplied with the radius, and what is to be added.
  const float* moves() const { return moves_.data(); }
  const float* offsets(std::int32_t own_center) const {
    return offsets_.data() + (from_centers_ ? own_center * n_groups_ : 0);
  }

 private:
  class PivotTile;
  void look_from_centers(const Screen& screen, const GroupPanels& panels, const CenterMoves& moves,
                         const std::vector<double>& terms, int n_threads, Interrupt& interrupt);

  static constexpr std::int64_t kRowsOfACenter = 16;

  std::int64_t n_groups_ = 0;
  bool from_centers_ = false;
  float least_radius_ = 0.0f;
  std::vector<float> moves_;    // [groups]
  std::vector<float> offsets_;  // [pivots][groups]
};

}  // namespace fastface
