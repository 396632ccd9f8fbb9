#include "directions.hpp"

#include <algorithm>

namespace fastface {
namespace {

constexpr std::int64_t kBlockRows = 1024;

}  // namespace

void edge_directions(const std::int32_t* indices, const float* distances, std::int64_t n,
                     std::int64_t k, double below, std::uint8_t* kinds, int n_threads,
                     Interrupt& interrupt) {
  const auto tell = [&](std::int64_t row, std::int64_t edge) {
    if (!(distances[edge] < below)) return kTooLong;
    const std::int32_t* list = indices + indices[edge] * k;
    const auto own = static_cast<std::int32_t>(row);
    return std::find(list, list + k, own) != list + k ? kMutual : kOneWay;
  };
  parallel_for((n + kBlockRows - 1) / kBlockRows, n_threads, interrupt, [&]() -> Worker {
    return [&](std::int64_t block) {
      for (std::int64_t row = block * kBlockRows; row < std::min(n, (block + 1) * kBlockRows);
           ++row)
        for (std::int64_t edge = row * k; edge < (row + 1) * k; ++edge)
          kinds[edge] = tell(row, edge);
    };
  });
}

}  // namespace fastface
