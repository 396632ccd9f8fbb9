// Kernels that are the definition itself: no screen, no approximation.
#pragma once

#include <cstdint>

#include "matrix.hpp"
#include "parallel.hpp"

namespace fastface {

// All distances, row-major (x.rows, y.rows).
template <typename Storage>
void pairwise_distances(const Matrix<Storage>& x, const Matrix<Storage>& y, Metric metric,
                        float* out, int n_threads, Interrupt& interrupt);

// Order-free sums: sums[label][j] += round(weight * x[j] * scale[j]) in 64-bit integers, so that
// the result does not depend on who adds what first.  `weights` may be null (all one).
template <typename Storage>
void accumulate_sums(const Matrix<Storage>& x, const std::int32_t* labels, const double* weights,
                     const double* scales, std::int64_t* sums, int n_threads, Interrupt& interrupt);

// nearest[i] = min(nearest[i], |x_i - c|^2 for every new center c), in float64.
template <typename Storage>
void update_nearest(const Matrix<Storage>& x, const Matrix<Storage>& new_centers, double* nearest,
                    int n_threads, Interrupt& interrupt);

}  // namespace fastface
