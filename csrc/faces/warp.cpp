#include "faces/warp.hpp"

#include <cmath>
#include <cstring>
#include <vector>

namespace fastface {

void halve(const PhotoView& photo, std::uint8_t* out) {
  const std::int64_t rows = halved(photo.rows);
  const std::int64_t columns = halved(photo.columns);
  const std::int64_t width = 3 * photo.columns;
  // Sums stay below 2^16: 255 * 16 * 16 = 65,280.
  std::vector<std::uint16_t> sums(static_cast<std::size_t>(width));
  std::uint16_t* __restrict sum = sums.data();
  for (std::int64_t y = 0; y < rows; ++y) {
    const std::uint8_t* tap[5];
    for (int k = 0; k < 5; ++k) tap[k] = photo.pixels + (2 * y + k) * photo.row_stride;
    for (std::int64_t x = 0; x < width; ++x)
      sum[x] = static_cast<std::uint16_t>(tap[0][x] + tap[4][x] + 4 * (tap[1][x] + tap[3][x]) +
                                          6 * tap[2][x]);
    for (std::int64_t x = 0; x < columns; ++x)
      for (std::int64_t c = 0; c < 3; ++c) {
        const std::uint16_t* at = sum + 6 * x + c;
        const int total = at[0] + at[12] + 4 * (at[3] + at[9]) + 6 * at[6];
        *out++ = static_cast<std::uint8_t>(total >> 8);
      }
  }
}

void sample(const PhotoView& photo, const SampleGrid& grid, std::uint8_t* out) {
  std::memset(out, 0, static_cast<std::size_t>(3 * grid.size * grid.size));
  const auto last_x = static_cast<double>(photo.columns - 1);
  const auto last_y = static_cast<double>(photo.rows - 1);
  for (std::int64_t row = 0; row < grid.size; ++row)
    for (std::int64_t column = 0; column < grid.size; ++column, out += 3) {
      const auto c = static_cast<double>(column);
      const auto r = static_cast<double>(row);
      const double x = grid.x + (grid.step_x * c - grid.step_y * r);
      const double y = grid.y + (grid.step_x * r + grid.step_y * c);
      // Not "outside": positions that are no numbers are black too.
      if (!(x >= 0.0 && y >= 0.0 && x < last_x && y < last_y)) continue;
      const auto left = static_cast<std::int64_t>(x);
      const auto top = static_cast<std::int64_t>(y);
      const double right = x - static_cast<double>(left);
      const double down = y - static_cast<double>(top);
      const std::uint8_t* above = photo.pixels + top * photo.row_stride + 3 * left;
      const std::uint8_t* below = above + photo.row_stride;
      for (int color = 0; color < 3; ++color) {
        const double high = (1 - right) * above[color] + right * above[color + 3];
        const double low = (1 - right) * below[color] + right * below[color + 3];
        out[color] = static_cast<std::uint8_t>(high * (1 - down) + low * down + grid.rounding);
      }
    }
}

}  // namespace fastface
