// An order of rows in which near ones stand together, and near groups of rows near each other.
#pragma once

#include "matrix.hpp"
#include "parallel.hpp"

namespace fastface {

// Halves the rows again and again across the direction in which they differ most, at multiples of
// `group` rows as long as there are several groups; `order` is a permutation of all rows.  It
// depends on the rows alone: not on threads, not on the instruction set.
void order_rows(const Matrix& x, std::int64_t group, std::int32_t* order, int n_threads,
                Interrupt& interrupt);

}  // namespace fastface
