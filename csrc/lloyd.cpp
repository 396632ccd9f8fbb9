#include "lloyd.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <mutex>

#include "cpu/dispatch.hpp"

namespace fastface {
namespace {

constexpr std::int64_t kRowsPerBlock = 1024;
constexpr std::int64_t kSliceStep = 8;  // features: a cache line of sums

// Added to a double below 2^51 in magnitude, it leaves the nearest integer, ties to even, in the
// low bits of the mantissa.
constexpr double kMagic = 0x1.8p52;

inline std::int64_t bits_of(double value) {
  std::int64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// Adds one value to, or takes it from, a pair of sums.
template <int kSign>
inline void add_value(double value, double scale, double low_scale, std::int64_t& high,
                      std::int64_t& low) {
  const double scaled = value * scale;
  const double whole = scaled + kMagic;
  const double rest = (scaled - (whole - kMagic)) * low_scale + kMagic;
  high += kSign * (bits_of(whole) - bits_of(kMagic));
  low += kSign * (bits_of(rest) - bits_of(kMagic));
}

template <int kSign, typename X>
void add_row(const X* x, double factor, const double* scales, double low_scale, std::int64_t dim,
             std::int64_t* high, std::int64_t* low) {
  for (std::int64_t j = 0; j < dim; ++j)
    add_value<kSign>(factor * static_cast<double>(x[j]), scales[j], low_scale, high[j], low[j]);
}

// Reads rows as float32 or float64, whatever they are stored in.
class WideReader {
 public:
  explicit WideReader(const Matrix& x)
      : x_(x),
        read_(x),
        load_(active_kernels().load_row[x.storage]),
        no_shift_(x.storage == kFloat16 ? static_cast<std::size_t>(x.dim) : 0, 0.0),
        scratch_(no_shift_.size()) {}

  // Calls work(pointer to the row).
  template <typename Work>
  void with_row(std::int64_t i, const Work& work) {
    const void* row = read_(i);
    if (x_.storage == kFloat64) {
      work(static_cast<const double*>(row));
    } else if (x_.storage == kFloat32) {
      work(static_cast<const float*>(row));
    } else {
      load_(row, no_shift_.data(), 1.0, x_.dim, x_.dim, scratch_.data());
      work(static_cast<const float*>(scratch_.data()));
    }
  }

  void prefetch(std::int64_t i) const { read_.prefetch(i); }

 private:
  Matrix x_;
  RowReader read_;
  double (*load_)(const void*, const double*, double, std::int64_t, std::int64_t, float*);
  std::vector<double> no_shift_;
  std::vector<float> scratch_;
};

std::int64_t n_blocks_of(std::int64_t rows) { return (rows + kRowsPerBlock - 1) / kRowsPerBlock; }

// Calls work(i) for all rows, split over threads; `make` makes a thread's own `work`.
template <typename Make>
void for_rows(std::int64_t rows, int n_threads, Interrupt& interrupt, const Make& make) {
  parallel_for(n_blocks_of(rows), n_threads, interrupt, [&]() -> Worker {
    return [rows, work = make()](std::int64_t block) mutable {
      const std::int64_t last = std::min(rows, (block + 1) * kRowsPerBlock);
      for (std::int64_t i = block * kRowsPerBlock; i < last; ++i) work(i);
    };
  });
}

// What a thread gathers of all its rows, joined when everybody is done.
template <typename T>
class Gathered {
 public:
  std::vector<T>* add(std::size_t size) {
    const std::lock_guard<std::mutex> guard(lock_);
    parts_.push_back(std::make_unique<std::vector<T>>(size, T{}));
    return parts_.back().get();
  }
  template <typename Join>
  void join(const Join& join) const {
    for (const auto& part : parts_)
      for (std::size_t j = 0; j < part->size(); ++j) join(j, (*part)[j]);
  }

 private:
  std::mutex lock_;
  std::vector<std::unique_ptr<std::vector<T>>> parts_;
};

}  // namespace

std::int64_t accumulate_moves(const Matrix& x, const std::int32_t* labels,
                              const std::int32_t* previous, const double* factors,
                              const double* masses, const Grid& grid, const ClusterSums& totals,
                              int n_threads, Interrupt& interrupt) {
  std::vector<std::int64_t> moved;
  if (previous != nullptr)
    for (std::int64_t i = 0; i < x.rows; ++i)
      if (labels[i] != previous[i]) moved.push_back(i);
  const std::int64_t count = previous == nullptr ? x.rows : static_cast<std::int64_t>(moved.size());
  const auto row_at = [&](std::int64_t m) {
    return previous == nullptr ? m : moved[static_cast<std::size_t>(m)];
  };

  std::int64_t* mass_high = totals.mass;
  std::int64_t* mass_low = totals.mass + totals.n_clusters;
  for (std::int64_t m = 0; m < count; ++m) {
    const std::int64_t i = row_at(m);
    const double mass = masses == nullptr ? 1.0 : masses[i];
    add_value<1>(mass, grid.mass_scale, grid.low_scale, mass_high[labels[i]], mass_low[labels[i]]);
    if (previous != nullptr)
      add_value<-1>(mass, grid.mass_scale, grid.low_scale, mass_high[previous[i]],
                    mass_low[previous[i]]);
  }

  // Threads share the features, not the rows: no two of them ever touch the same sum.
  const std::int64_t slice = round_up((x.dim + n_threads - 1) / n_threads, kSliceStep);
  const std::int64_t low_part = totals.n_clusters * x.dim;
  const bool few = count * x.dim < (std::int64_t{1} << 16);
  parallel_for((x.dim + slice - 1) / slice, few ? 1 : n_threads, interrupt, [&]() -> Worker {
    return [&](std::int64_t block) {
      const std::int64_t first = block * slice;
      const std::int64_t width = std::min(x.dim - first, slice);
      Matrix part = x;
      part.data += first * x.column_stride;
      part.dim = width;
      WideReader read(part);
      constexpr std::int64_t kAhead = 4;
      for (std::int64_t m = 0; m < count; ++m) {
        if (m + kAhead < count) read.prefetch(row_at(m + kAhead));
        const std::int64_t i = row_at(m);
        const double factor = factors == nullptr ? 1.0 : factors[i];
        read.with_row(i, [&](const auto* row) {
          std::int64_t* to = totals.sums + labels[i] * x.dim + first;
          add_row<1>(row, factor, grid.scales + first, grid.low_scale, width, to, to + low_part);
          if (previous == nullptr) return;
          std::int64_t* from = totals.sums + previous[i] * x.dim + first;
          add_row<-1>(row, factor, grid.scales + first, grid.low_scale, width, from,
                      from + low_part);
        });
        if (m % 1024 == 0 && interrupt.stopped()) return;
      }
    };
  });
  return count;
}

void own_distances(const Matrix& x, const Matrix& centers, const std::int32_t* labels,
                   Metric metric, double* distances, int n_threads, Interrupt& interrupt) {
  const KernelTable& kernels = active_kernels();
  const Definition definition(kernels, metric, x, centers);
  std::vector<double> center_norms(static_cast<std::size_t>(centers.rows), 0.0);
  if (metric == Metric::kCosine) row_norms(centers, center_norms.data(), n_threads, interrupt);
  for_rows(x.rows, n_threads, interrupt, [&] {
    return [&, read_x = RowReader(x), read_center = RowReader(centers)](std::int64_t i) mutable {
      const void* row = read_x(i);
      const double norm = metric == Metric::kCosine
                              ? cosine_norm(kernels.dot[x.storage][x.storage](row, row, x.dim))
                              : 0.0;
      distances[i] = definition.key(row, norm, read_center(labels[i]),
                                    center_norms[static_cast<std::size_t>(labels[i])]);
    };
  });
}

void row_norms(const Matrix& x, double* norms, int n_threads, Interrupt& interrupt) {
  const auto dot = active_kernels().dot[x.storage][x.storage];
  for_rows(x.rows, n_threads, interrupt, [&] {
    return [&, read = RowReader(x)](std::int64_t i) mutable {
      const void* row = read(i);
      norms[i] = cosine_norm(dot(row, row, x.dim));
    };
  });
}

void column_range(const Matrix& x, double* largest, int n_threads, Interrupt& interrupt) {
  const auto dim = static_cast<std::size_t>(x.dim);
  Gathered<double> parts;  // magnitudes, then what is NaN where a value was no number
  for_rows(x.rows, n_threads, interrupt, [&] {
    return [part = parts.add(2 * dim), dim, read = WideReader(x)](std::int64_t i) mutable {
      double* most = part->data();
      double* poison = most + dim;
      read.with_row(i, [&](const auto* row) {
        for (std::size_t j = 0; j < dim; ++j) {
          const double value = static_cast<double>(row[j]);
          const double magnitude = value < 0.0 ? -value : value;
          most[j] = most[j] < magnitude ? magnitude : most[j];
          poison[j] += value * 0.0;
        }
      });
    };
  });
  std::fill(largest, largest + dim, 0.0);
  parts.join([&](std::size_t j, double value) {
    if (j < dim)
      largest[j] = largest[j] < value ? value : largest[j];
    else if (value != 0.0)
      largest[j - dim] = std::numeric_limits<double>::quiet_NaN();
  });
}

void column_moments(const Matrix& x, const double* scales, double low_scale, std::int64_t* moments,
                    int n_threads, Interrupt& interrupt) {
  const auto dim = static_cast<std::size_t>(x.dim);
  Gathered<std::int64_t> parts;
  for_rows(x.rows, n_threads, interrupt, [&] {
    return [part = parts.add(4 * dim), dim, scales, low_scale,
            read = WideReader(x)](std::int64_t i) mutable {
      std::int64_t* sums = part->data();
      read.with_row(i, [&](const auto* row) {
        for (std::size_t j = 0; j < dim; ++j) {
          const double value = static_cast<double>(row[j]);
          add_value<1>(value, scales[j], low_scale, sums[j], sums[j + dim]);
          add_value<1>(value * value, scales[j + dim], low_scale, sums[j + 2 * dim],
                       sums[j + 3 * dim]);
        }
      });
    };
  });
  std::fill(moments, moments + 4 * dim, std::int64_t{0});
  parts.join([&](std::size_t j, std::int64_t value) { moments[j] += value; });
}

}  // namespace fastface
