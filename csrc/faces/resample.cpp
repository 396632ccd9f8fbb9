#include "faces/resample.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace fastface {
namespace {

constexpr std::int64_t kLanes = 4;  // dlib's
constexpr int kPicks = 2 * kSpreadColumns;

// The columns of a plan in groups of eight that are picked out of sixteen bytes.
struct Spreading {
  explicit Spreading(const ColumnPlan& plan) {
    for (std::int64_t first = 0; first < plan.n_lanes; first += kSpreadColumns) {
      bases.push_back(plan.left[static_cast<std::size_t>(first)]);
      std::array<std::uint8_t, kPicks> pick;
      for (std::int64_t i = 0; i < kSpreadColumns; ++i) {
        const std::int64_t column = std::min(first + i, plan.n_lanes - 1);
        const std::int32_t offset = plan.left[static_cast<std::size_t>(column)] - bases.back();
        fits = fits && offset + 1 < kPicks;
        pick[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(offset);
        pick[static_cast<std::size_t>(i + kSpreadColumns)] = static_cast<std::uint8_t>(offset + 1);
      }
      picks.push_back(pick);
    }
  }

  std::vector<std::int32_t> bases;
  std::vector<std::array<std::uint8_t, kPicks>> picks;
  bool fits = true;
};

// Rows of a source, spread out to the columns of the target; the lower row of one target row is
// mostly the upper row of the next.
class SpreadRow {
 public:
  SpreadRow(std::int64_t n_columns) {
    for (auto& color : bytes_)
      for (auto& side : color) side.resize(static_cast<std::size_t>(n_columns + kFaceSlack));
  }

  void fill(const FaceKernels& kernels, const Planes& source, std::int64_t y,
            const ColumnPlan& plan, const Spreading& spreading) {
    if (row_ == y) return;
    row_ = y;
    for (int color = 0; color < 3; ++color) {
      const std::uint8_t* from = source.row(color, y);
      auto& [left, right] = bytes_[static_cast<std::size_t>(color)];
      if (spreading.fits) {
        kernels.spread(from, spreading.bases.data(),
                       reinterpret_cast<const std::uint8_t (*)[kPicks]>(spreading.picks.data()),
                       static_cast<std::int64_t>(spreading.bases.size()), left.data(),
                       right.data());
        continue;
      }
      for (std::size_t i = 0; i < static_cast<std::size_t>(plan.n_lanes); ++i) {
        left[i] = from[plan.left[i]];
        right[i] = from[plan.left[i] + 1];
      }
    }
  }

  const std::uint8_t* get(int color, int side) const {
    return bytes_[static_cast<std::size_t>(color)][static_cast<std::size_t>(side)].data();
  }

 private:
  std::int64_t row_ = -1;
  std::array<std::array<std::vector<std::uint8_t>, 2>, 3> bytes_;
};

// Calls row(y of the target, upper row, lower row, share of the lower).
template <typename Row>
void walk_rows(std::int64_t n_source, std::int64_t n_target, const Row& row) {
  const double step = static_cast<double>(n_source - 1) /
                      static_cast<double>(std::max<std::int64_t>(n_target - 1, 1));
  double y = -step;
  for (std::int64_t target = 0; target < n_target; ++target) {
    y += step;
    const auto top = static_cast<std::int64_t>(std::floor(y));
    row(target, top, std::min(top + 1, n_source - 1), y - static_cast<double>(top));
  }
}

}  // namespace

void Planes::resize(std::int64_t n_rows, std::int64_t n_columns) {
  rows = n_rows;
  columns = n_columns;
  stride = n_columns + kFaceSlack;
  bytes.resize(static_cast<std::size_t>(3 * rows * stride));
}

ColumnPlan::ColumnPlan(std::int64_t n_source, std::int64_t n_target) {
  const double step = static_cast<double>(n_source - 1) /
                      static_cast<double>(std::max<std::int64_t>(n_target - 1, 1));
  // Lane l starts at (l - 4) * step and goes on by 4 * step, all in single precision.
  float lanes[kLanes];
  for (int l = 0; l < kLanes; ++l) lanes[l] = static_cast<float>((l - kLanes) * step);
  const auto move = static_cast<float>(kLanes * step);
  for (n_lanes = 0; n_lanes + kLanes <= n_target; n_lanes += kLanes) {
    for (float& lane : lanes) lane += move;
    if (static_cast<std::int64_t>(lanes[kLanes - 1]) + 1 >= n_source) break;
    for (const float lane : lanes) {
      const auto column = static_cast<std::int32_t>(lane);
      left.push_back(column);
      lane_shares.push_back(lane - static_cast<float>(column));
    }
  }
  double x = -step + static_cast<double>(n_lanes) * step;
  for (std::int64_t column = n_lanes; column < n_target; ++column) {
    x += step;
    left.push_back(static_cast<std::int32_t>(std::floor(x)));
    rest_shares.push_back(x - left.back());
  }
}

void load_planes(const FaceKernels& kernels, const std::uint8_t* rgb, std::int64_t rows,
                 std::int64_t columns, Planes& out) {
  out.resize(rows, columns);
  for (std::int64_t y = 0; y < rows; ++y)
    kernels.split_colors(rgb + 3 * columns * y, columns, out.row(0, y), out.row(1, y),
                         out.row(2, y));
}

void resample(const FaceKernels& kernels, const Planes& source, Planes& target) {
  const ColumnPlan plan(source.columns, target.columns);
  const Spreading spreading(plan);
  SpreadRow rows[2] = {SpreadRow(target.columns), SpreadRow(target.columns)};
  SpreadRow *upper = &rows[0], *lower = &rows[1];
  walk_rows(source.rows, target.rows,
            [&](std::int64_t y, std::int64_t top, std::int64_t bottom, double down) {
              std::swap(upper, lower);
              upper->fill(kernels, source, top, plan, spreading);
              lower->fill(kernels, source, bottom, plan, spreading);
              for (int color = 0; color < 3; ++color) {
                std::uint8_t* out = target.row(color, y);
                const std::uint8_t* four[4] = {upper->get(color, 0), upper->get(color, 1),
                                               lower->get(color, 0), lower->get(color, 1)};
                kernels.mix(four, plan.lane_shares.data(), static_cast<float>(down),
                            static_cast<float>(1 - down), plan.n_lanes, out);
                const std::uint8_t* above = source.row(color, top);
                const std::uint8_t* below = source.row(color, bottom);
                for (std::int64_t column = plan.n_lanes; column < target.columns; ++column) {
                  const std::int64_t near = plan.left[static_cast<std::size_t>(column)];
                  const std::int64_t far = std::min(near + 1, source.columns - 1);
                  const double share =
                      plan.rest_shares[static_cast<std::size_t>(column - plan.n_lanes)];
                  const double high = (1 - share) * above[near] + share * above[far];
                  const double low = (1 - share) * below[near] + share * below[far];
                  out[column] = static_cast<std::uint8_t>((1 - down) * high + down * low);
                }
              }
            });
}

void resample(const float* source, std::int64_t source_stride, std::int64_t source_rows,
              std::int64_t source_columns, float* target, std::int64_t target_stride,
              std::int64_t target_rows, std::int64_t target_columns) {
  const ColumnPlan plan(source_columns, target_columns);
  walk_rows(source_rows, target_rows,
            [&](std::int64_t y, std::int64_t top, std::int64_t bottom, double down) {
              const float* above = source + top * source_stride;
              const float* below = source + bottom * source_stride;
              float* out = target + y * target_stride;
              const auto down32 = static_cast<float>(down);
              const auto up32 = static_cast<float>(1 - down);
              for (std::int64_t column = 0; column < plan.n_lanes; ++column) {
                const std::int64_t x = plan.left[static_cast<std::size_t>(column)];
                const float share = plan.lane_shares[static_cast<std::size_t>(column)];
                const float rest = 1.0f - share;
                out[column] = (up32 * rest) * above[x] + (up32 * share) * above[x + 1] +
                              (down32 * rest) * below[x] + (down32 * share) * below[x + 1];
              }
              for (std::int64_t column = plan.n_lanes; column < target_columns; ++column) {
                const std::int64_t x = plan.left[static_cast<std::size_t>(column)];
                const std::int64_t next = std::min(x + 1, source_columns - 1);
                const auto share = static_cast<float>(
                    plan.rest_shares[static_cast<std::size_t>(column - plan.n_lanes)]);
                const float rest = 1.0f - share;
                const float high = rest * above[x] + share * above[next];
                const float low = rest * below[x] + share * below[next];
                out[column] = static_cast<float>((1 - down) * high + down * low);
              }
            });
}

}  // namespace fastface
