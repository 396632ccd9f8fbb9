// What k-means does beside finding the nearest center: adding rows up, and measuring them.
//
// A value v enters a sum as two integers, rint(v * scale) and rint(rest * low_scale), so that sums
// do not depend on the order of their terms (fastface/kmeans/fixed_point.py has the proof that
// they do not overflow).
#pragma once

#include <cstdint>

#include "matrix.hpp"
#include "parallel.hpp"

namespace fastface {

// How values become integers.  Scales are powers of two.
struct Grid {
  const double* scales;  // one a feature
  double mass_scale;
  double low_scale;
};

// Sums of clusters, high parts first.
struct ClusterSums {
  std::int64_t n_clusters;
  std::int64_t* sums;  // [2][n_clusters][dim]
  std::int64_t* mass;  // [2][n_clusters]
};

// Adds every row, times its factor, to the sums of its label, and its mass to the mass; with
// `previous` labels, only moves the rows whose label changed.  `previous`, `factors` and `masses`
// may be null: no sums yet, all one, all one.  Returns how many rows moved.
std::int64_t accumulate_moves(const Matrix& x, const std::int32_t* labels,
                              const std::int32_t* previous, const double* factors,
                              const double* masses, const Grid& grid, const ClusterSums& totals,
                              int n_threads, Interrupt& interrupt);

// The distance of every row to its own center, by definition.
void own_distances(const Matrix& x, const Matrix& centers, const std::int32_t* labels,
                   Metric metric, double* distances, int n_threads, Interrupt& interrupt);

// The norm of every row that the cosine metric divides by.
void row_norms(const Matrix& x, double* norms, int n_threads, Interrupt& interrupt);

// The largest magnitude of every feature; NaN where there is a NaN or an infinity.
void column_range(const Matrix& x, double* largest, int n_threads, Interrupt& interrupt);

// Sums of values and of their squares, [2: power][2: high, low][dim]; `scales` is [2][dim].
void column_moments(const Matrix& x, const double* scales, double low_scale, std::int64_t* moments,
                    int n_threads, Interrupt& interrupt);

}  // namespace fastface
