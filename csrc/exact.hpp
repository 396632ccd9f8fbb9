// Kernels without a screen: every distance is wanted, or every row enters a sum.
#pragma once

#include <cstdint>

#include "matrix.hpp"
#include "parallel.hpp"

namespace fastface {

// Order-free sums: sums[label][j] += round(weight * x[j] * scale[j]) in 64-bit integers, so that
// the result does not depend on who adds what first.  `weights` may be null (all one).
void accumulate_sums(const Matrix& x, const std::int32_t* labels, const double* weights,
                     const double* scales, std::int64_t* sums, int n_threads, Interrupt& interrupt);

// nearest[i] = min(nearest[i], |x_i - c|^2 for every new center c), in float64.
void update_nearest(const Matrix& x, const Matrix& new_centers, double* nearest, int n_threads,
                    Interrupt& interrupt);

}  // namespace fastface
