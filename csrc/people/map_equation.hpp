// Two-level map equation on an undirected network: groups in which a random walker stays.
//
// M. Rosvall, D. Axelsson, C. Bergstrom, "The map equation", Eur. Phys. J. Special Topics 178
// (2009); the search is the core loop of Louvain kind with repeated refinement of single nodes.
#pragma once

#include "sparse.hpp"

namespace fastface {

struct Communities {
  std::vector<std::int32_t> labels;  // numbered by first appearance
  double code_length;                // bits a step
};

// Groups the nodes of a symmetric network without self-links.  Two nodes that share an exclusion
// never come into one group.  A node without links stays alone.
Communities map_equation(const SparseRows& network, const Lists& exclusions,
                         std::int64_t n_exclusions, std::uint64_t seed, Interrupt& interrupt);

// The code length of given groups, numbered from 0.
double code_length(const SparseRows& network, const std::int32_t* labels, std::int64_t n_labels);

}  // namespace fastface
