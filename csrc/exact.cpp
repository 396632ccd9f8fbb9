#include "exact.hpp"

#include <algorithm>

#include "cpu/dispatch.hpp"

namespace fastface {

void accumulate_sums(const Matrix& x, const std::int32_t* labels, const double* weights,
                     const double* scales, std::int64_t* sums, int n_threads,
                     Interrupt& interrupt) {
  // Threads share the features, not the rows: no two of them ever touch the same sum.
  const auto accumulate_row = active_kernels().accumulate_row[x.storage];
  const std::int64_t slice = round_up((x.dim + n_threads - 1) / n_threads, 8);
  parallel_for((x.dim + slice - 1) / slice, n_threads, interrupt, [&]() -> Worker {
    return [&, read = RowReader(x)](std::int64_t block) mutable {
      const std::int64_t first = block * slice;
      const std::int64_t count = std::min(x.dim - first, slice);
      for (std::int64_t i = 0; i < x.rows; ++i) {
        const char* row = static_cast<const char*>(read(i)) + first * x.itemsize();
        accumulate_row(row, weights == nullptr ? 1.0 : weights[i], scales + first,
                       sums + labels[i] * x.dim + first, count);
        if (i % 4096 == 0 && interrupt.stopped()) return;
      }
    };
  });
}

void update_nearest(const Matrix& x, const Matrix& new_centers, double* nearest, int n_threads,
                    Interrupt& interrupt) {
  const auto squared_distance = active_kernels().squared_distance[x.storage][new_centers.storage];
  constexpr std::int64_t kRows = 1024;
  parallel_for((x.rows + kRows - 1) / kRows, n_threads, interrupt, [&]() -> Worker {
    return [&, read_x = RowReader(x),
            read_center = RowReader(new_centers)](std::int64_t block) mutable {
      const std::int64_t last = std::min(x.rows, (block + 1) * kRows);
      for (std::int64_t c = 0; c < new_centers.rows; ++c) {
        const void* center = read_center(c);
        for (std::int64_t i = block * kRows; i < last; ++i)
          nearest[i] = std::min(nearest[i], squared_distance(read_x(i), center, x.dim));
        if (interrupt.stopped()) return;
      }
    };
  });
}

}  // namespace fastface
