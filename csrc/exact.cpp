#include "exact.hpp"

#include <algorithm>
#include <cmath>

#include "cpu/dispatch.hpp"

namespace fastface {
namespace {

constexpr std::int64_t kRowsPerBlock = 64;
constexpr std::int64_t kColumnsPerBlock = 256;  // of candidates, so that they stay in cache

std::int64_t blocks_of(std::int64_t rows, std::int64_t size) { return (rows + size - 1) / size; }

}  // namespace

template <typename Storage>
void pairwise_distances(const Matrix<Storage>& x, const Matrix<Storage>& y, Metric metric,
                        float* out, int n_threads, Interrupt& interrupt) {
  const Definition definition{active_kernels(), metric, x.dim};
  const auto norm = [&](const auto* row) {
    return metric == Metric::kCosine ? std::sqrt(definition.dot(row, row)) : 0.0;
  };
  parallel_for(
      blocks_of(x.rows, kRowsPerBlock), n_threads, interrupt, [&](std::int64_t block, bool caller) {
        RowReader<Storage> read_x(x);
        RowReader<Storage> read_y(y);
        const std::int64_t last = std::min(x.rows, (block + 1) * kRowsPerBlock);
        std::vector<double> y_norms(kColumnsPerBlock);
        for (std::int64_t start = 0; start < y.rows; start += kColumnsPerBlock) {
          const std::int64_t stop = std::min(y.rows, start + kColumnsPerBlock);
          for (std::int64_t j = start; j < stop; ++j) y_norms[j - start] = norm(read_y(j));
          for (std::int64_t i = block * kRowsPerBlock; i < last; ++i) {
            const auto* row = read_x(i);
            const double x_norm = norm(row);
            for (std::int64_t j = start; j < stop; ++j)
              out[i * y.rows + j] =
                  definition.distance(definition.key(row, x_norm, read_y(j), y_norms[j - start]));
          }
          if (interrupt.stopped(caller)) return;
        }
      });
}

template <typename Storage>
void accumulate_sums(const Matrix<Storage>& x, const std::int32_t* labels, const double* weights,
                     const double* scales, std::int64_t* sums, int n_threads,
                     Interrupt& interrupt) {
  // Threads share the features, not the rows: no two of them ever touch the same sum.
  const std::int64_t slice = (x.dim + n_threads - 1) / n_threads;
  parallel_for(blocks_of(x.dim, slice), n_threads, interrupt, [&](std::int64_t block, bool caller) {
    const std::int64_t first = block * slice;
    const std::int64_t last = std::min(x.dim, first + slice);
    for (std::int64_t i = 0; i < x.rows; ++i) {
      const Storage* row = x.row(i);
      std::int64_t* sum = sums + labels[i] * x.dim;
      const double weight = weights == nullptr ? 1.0 : weights[i];
      for (std::int64_t j = first; j < last; ++j) {
        double value;
        if constexpr (std::is_same_v<Storage, double>)
          value = row[j];
        else
          value = to_float(row[j]);
        sum[j] += std::llrint(weight * value * scales[j]);
      }
      if (i % 4096 == 0 && interrupt.stopped(caller)) return;
    }
  });
}

template <typename Storage>
void update_nearest(const Matrix<Storage>& x, const Matrix<Storage>& new_centers, double* nearest,
                    int n_threads, Interrupt& interrupt) {
  const Definition definition{active_kernels(), Metric::kSquaredEuclidean, x.dim};
  constexpr std::int64_t kRows = 1024;
  parallel_for(blocks_of(x.rows, kRows), n_threads, interrupt, [&](std::int64_t block, bool) {
    RowReader<Storage> read_x(x);
    RowReader<Storage> read_center(new_centers);
    const std::int64_t last = std::min(x.rows, (block + 1) * kRows);
    for (std::int64_t c = 0; c < new_centers.rows; ++c) {
      const auto* center = read_center(c);
      for (std::int64_t i = block * kRows; i < last; ++i)
        nearest[i] = std::min(nearest[i], definition.squared(read_x(i), center));
    }
  });
}

#define FASTFACE_INSTANTIATE(Storage)                                                            \
  template void pairwise_distances<Storage>(const Matrix<Storage>&, const Matrix<Storage>&,      \
                                            Metric, float*, int, Interrupt&);                    \
  template void accumulate_sums<Storage>(const Matrix<Storage>&, const std::int32_t*,            \
                                         const double*, const double*, std::int64_t*, int,       \
                                         Interrupt&);                                            \
  template void update_nearest<Storage>(const Matrix<Storage>&, const Matrix<Storage>&, double*, \
                                        int, Interrupt&);
FASTFACE_INSTANTIATE(float)
FASTFACE_INSTANTIATE(double)
FASTFACE_INSTANTIATE(Half)

}  // namespace fastface
