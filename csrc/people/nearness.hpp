// How near faces are to people: what confidence is made of.
#pragma once

#include "sparse.hpp"

namespace fastface {

struct Nearness {
  std::vector<double> own;              // mean squared distance to the other faces of the person
  std::vector<double> other;            // to those of the nearest other person, or `nobody`
  std::vector<std::int32_t> runner_up;  // that person, or -1
};

// Looks at the first `n_candidates` other people in each face's neighbour list.  `alone` is the
// squared distance that a face without company has to its own person.
Nearness nearness(const NeighborLists& graph, const float* x, std::int64_t dim,
                  const std::int32_t* labels, std::int64_t n_people, double alone, double nobody,
                  std::int64_t n_candidates, int n_threads, Interrupt& interrupt);

}  // namespace fastface
