// How faces divide themselves among their mutual near neighbours: the overlap part of the kernel.
#pragma once

#include "sparse.hpp"

namespace fastface {

// Lengths in the unit of the graph's distances.
struct NeighborhoodShape {
  double cutoff;                  // no neighbour is farther
  double smallest_radius;         // of a face's surroundings
  double radius_factor;           // mutual neighbours are nearer than this times their mean radius
  std::int64_t radius_neighbors;  // whose mean distance is the radius
};

// Row i: the shares of face i itself and of its mutual near neighbours, which sum to one; columns
// increase.
SparseRows neighbor_shares(const NeighborLists& graph, const NeighborhoodShape& shape,
                           int n_threads, Interrupt& interrupt);

// Row A: n_A times the unit vector of shares of group A among groups.
SparseRows group_overlaps(const SparseRows& shares, const Lists& members,
                          const std::int32_t* labels, int n_threads, Interrupt& interrupt);

}  // namespace fastface
