// The nearest center of every row, leaving out centers that a bound from earlier iterations rules
// out.
//
// Centers stand in groups, one panel each.  For every row and group there is a lower bound on the
// distance to the group's nearest center; when centers move, it falls by the largest move in the
// group (Hamerly, "Making k-means even faster", SDM 2010, applied to groups as in Ding et al.,
// "Yinyang k-means", ICML 2015).  Groups whose bound stays above the distance to the row's own
// center cannot hold a nearer one.  The others are scored, rows gathered so that tiles are full,
// against the bar that the own center sets; whoever reaches it is decided by the definition.
#pragma once

#include <cstdint>

#include "matrix.hpp"
#include "parallel.hpp"

namespace fastface {

struct PrunedProblem {
  Matrix rows;
  Matrix centers;              // in the order of the groups
  const std::int32_t* names;   // of the centers as labels know them
  const std::int32_t* places;  // of every label in `centers`
  const float* moves;          // largest move of each group since the bounds were written
  std::int64_t lower_stride;   // from one group to the next, in values
  Metric metric;
  int n_threads;
};

struct PruningStatistics {
  std::int64_t scored_pairs = 0;   // rows times groups, of all there are
  std::int64_t decided_pairs = 0;  // rows and centers that went to the definition
};

// `labels` holds those of the iteration before and gets the new ones.  `lower` is
// [groups][rows]; zero means that nothing is known.
PruningStatistics assign_pruned(const PrunedProblem& problem, std::int32_t* labels, float* lower,
                                Interrupt& interrupt);

// Centers of one group.
int group_size();

}  // namespace fastface
