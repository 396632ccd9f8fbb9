// The whole matrix of distances.
#pragma once

#include "matrix.hpp"
#include "parallel.hpp"

namespace fastface {

// All distances, row-major (x.rows, y.rows): fused multiply-adds in float32 in increasing order of
// features, and where that has lost too many digits the float64 definition (docs/exactness.md).
void pairwise_distances(const Matrix& x, const Matrix& y, Metric metric, float* out, int n_threads,
                        Interrupt& interrupt);

}  // namespace fastface
