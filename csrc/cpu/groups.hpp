// What bounds on groups of centers need of every instruction set, in loops that compilers
// vectorise.
#pragma once

#include "cpu/kernels.hpp"

namespace fastface {
namespace {  // files with different -m flags must not share one copy of a template

// Takes care of a tile's scores: bounds, and who reached the bar.
template <int kTile, int kWidth>
std::uint32_t hold_group_to_bars(const GroupTile& tile, const float (&scores)[kTile][kWidth]) {
  std::uint32_t reached = 0;
  for (int r = 0; r < kTile; ++r) {
    const RowRecord& row = tile.records[r];
    const float error = row.norm * tile.slope + (row.residual * tile.reach + tile.offset);
    float best = scores[r][0];
    bool is_number = true;
    for (int c = 0; c < kWidth; ++c) {
      best = best < scores[r][c] ? scores[r][c] : best;
      is_number = is_number && scores[r][c] == scores[r][c];
    }
    tile.uppers[r] = is_number ? best + error : __builtin_inff();
    if (tile.uppers[r] < row.bar) continue;
    reached |= std::uint32_t{1} << r;
    const float threshold = row.bar - error;
    std::uint32_t mask = 0;
    for (int c = 0; c < kWidth; ++c) {
      tile.scores[r * kWidth + c] = scores[r][c];
      mask |= static_cast<std::uint32_t>(!(scores[r][c] < threshold)) << c;
    }
    tile.survivors[r] = mask;
  }
  return reached;
}

void lift_bounds(const Lift& lift, const float* __restrict__ norms, const float* __restrict__ bars,
                 std::int64_t count, float* __restrict__ uppers, std::int32_t* __restrict__ needs) {
  for (std::int64_t row = 0; row < count; ++row) {
    const float lifted = norms[row] * lift.move + (uppers[row] + lift.offset);
    // More than the roundings of this take (docs/exactness.md).
    const float upper = lifted + __builtin_fabsf(lifted) * 0x1p-21f;
    uppers[row] = upper;
    needs[row] |= !(upper < bars[row]);
  }
}

std::int32_t list_wanted(const float* uppers, const float* bars, std::int64_t count,
                         std::int32_t* rows) {
  // Without a branch, which would be anybody's guess.
  std::int32_t n_rows = 0;
  for (std::int64_t row = 0; row < count; ++row) {
    rows[n_rows] = static_cast<std::int32_t>(row);
    n_rows += !(uppers[row] < bars[row]);
  }
  return n_rows;
}

}  // namespace
}  // namespace fastface
