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

bool lift_row(const RowLift& lift) {
  const float* __restrict__ moves = lift.moves;
  const float* __restrict__ offsets = lift.offsets;
  float* __restrict__ uppers = lift.uppers;
  int wanted = 0;
  for (std::int64_t group = 0; group < lift.n_groups; ++group) {
    const float lifted = lift.radius * moves[group] + (uppers[group] + offsets[group]);
    // More than the roundings of this take (docs/exactness.md).
    const float upper = lifted + __builtin_fabsf(lifted) * 0x1p-21f;
    uppers[group] = upper;
    wanted |= !(upper < lift.bar);
  }
  return wanted != 0;
}

void list_wanted(const WantedRows& wanted) {
  const std::int64_t n_groups = wanted.n_groups;
  for (std::int64_t group = 0; group < n_groups; ++group) wanted.n_rows[group] = 0;
  for (std::int64_t row = 0; row < wanted.count; ++row) {
    if (wanted.needs[row] == 0) continue;
    const float* uppers = wanted.uppers + row * n_groups;
    const float bar = wanted.records[row].bar;
    // Without a branch, which would be anybody's guess.
    for (std::int64_t group = 0; group < n_groups; ++group) {
      std::int32_t& n_rows = wanted.n_rows[group];
      wanted.rows[group * wanted.capacity + n_rows] = static_cast<std::uint16_t>(row);
      n_rows += !(uppers[group] < bar);
    }
  }
}

}  // namespace
}  // namespace fastface
