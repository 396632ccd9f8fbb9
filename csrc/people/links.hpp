// Links between faces by what their neighbour lists have in common, and groups of linked faces.
#pragma once

#include "sparse.hpp"

namespace fastface {

// Neighbour-based edge probabilities with early stopping: J. Liu, "Face clustering via early
// stopping and edge recall" (arXiv 2408.13431).  Over the face itself and its `k` neighbours,
// P_i = exp(-d^2 / sigma) / sum; p_ij = sum over common neighbours m of (P_im + P_jm) / 2.  The
// list of a face is walked from its nearest neighbour until the first with p below `theta`.  Who is
// not nearer than `farthest`, which the paper does not have, is no neighbour.
SparseRows probable_links(const NeighborLists& graph, std::int64_t k, double sigma, double farthest,
                          double theta, int n_threads, Interrupt& interrupt);

// The approximate rank-order distance over lists of `k` neighbours: C. Otto, D. Wang, A. K. Jain,
// "Clustering millions of faces by identity" (IEEE TPAMI 2018), section 4.  Links are those with a
// distance below `threshold`, their value.
SparseRows rank_order_links(const NeighborLists& graph, std::int64_t k, double threshold,
                            int n_threads, Interrupt& interrupt);

// Joins the ends of links in the order given, unless their groups share an exclusion.  Returns
// the lowest member of each one's group.
std::vector<std::int32_t> join_links(std::int64_t n, const std::int32_t* first,
                                     const std::int32_t* second, std::int64_t n_links,
                                     const Lists& exclusions);

// One label for every node, that of most of its neighbours, by weight: nodes are visited in the
// order given, ties go to the lowest label, and sweeps end when nothing changes.
// C. Biemann, "Chinese whispers" (TextGraphs 2006).  Nodes that share an exclusion never bear one
// label.
std::vector<std::int32_t> chinese_whispers(const SparseRows& network, const Lists& exclusions,
                                           std::int64_t n_exclusions, const std::int64_t* order,
                                           int max_sweeps, Interrupt& interrupt);

}  // namespace fastface
