// Very many small groups of rows: spatial signs, and the best division of each group in two.
#pragma once

#include <cstdint>

#include "parallel.hpp"

namespace fastface {

// Rows of float64 without gaps; group g has the rows starts[g] to starts[g + 1].
struct RowGroups {
  const double* rows;
  std::int64_t dim;
  const std::int64_t* starts;
  std::int64_t n_groups;

  std::int64_t n_rows() const { return starts[n_groups]; }
};

// Writes the unit vectors from each group's spatial median, the point of least summed distance, to
// its rows.  The median is found by Weiszfeld's iteration.
void spatial_signs(const RowGroups& groups, double* signs, int n_threads, Interrupt& interrupt);

// Writes 0 or 1 for every row; a group's first row has 0.  Lloyd's iteration starts from all pairs
// of a group's rows where there are no more than `n_starts`, else from so many random ones.  A
// group's answer depends on the seed and on its own rows alone.
void two_means_of_each(const RowGroups& groups, std::int64_t n_starts, std::uint64_t seed,
                       std::int8_t* sides, int n_threads, Interrupt& interrupt);

}  // namespace fastface
