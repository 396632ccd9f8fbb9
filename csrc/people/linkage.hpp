// Average linkage on a sparse graph, best pair first, with exact means and cannot-links.
//
// The similarity of two groups is the mean over all their pairs of faces of
//
//     K(i, j) = (1 - w) (1 - d(i, j)^2 / cutoff^2) + w <s_i, s_j>
//
// Both terms are bilinear, so that the mean over all pairs follows from sums kept per group: no
// pair is ever guessed, also none that the graph does not hold.  The graph only says which groups
// are compared at all: those with a pair of neighbours nearer than `longest_edge`.
#pragma once

#include "overlap.hpp"
#include "sparse.hpp"

namespace fastface {

struct LinkageProblem {
  NeighborLists graph;
  const float* x;  // n unit rows
  std::int64_t dim;
  const SparseRows& shares;
  const std::int32_t* labels;  // the group each face is in at the beginning; none is empty
  std::int64_t n_groups;
  const Lists& exclusions;  // per face: two groups that share one of these are never joined
  std::int64_t n_exclusions;
  double cutoff;
  double overlap_weight;
  double longest_edge;
  double stop;          // least similarity of two groups that are joined
  std::int64_t fewest;  // faces that two groups have together, or else they are not joined
};

// Returns, for every group of the beginning, the lowest group it was joined with.  Among equally
// similar pairs the one with the lowest groups goes first; results do not depend on the threads.
std::vector<std::int32_t> average_linkage(const LinkageProblem& problem, int n_threads,
                                          Interrupt& interrupt);

}  // namespace fastface
