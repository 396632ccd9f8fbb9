// The nearest other rows of every row of one matrix.
#pragma once

#include "descent.hpp"
#include "join_rows.hpp"

namespace fastface {

// The k nearest others by definition, sorted by (distance, index), for a Euclidean metric; outputs
// are [rows][k], in the order of the matrix.
void join_exactly(const JoinRows& rows, Metric metric, std::int64_t k, float* distances,
                  std::int32_t* indices, int n_threads, Interrupt& interrupt);

// The best by codes among the `n_visited` groups nearest to that of a row, itself one of them.
// Lists are in the order of places, and name places; entries lie in no order.  They depend neither
// on threads nor on the instruction set.
void join_nearby(const JoinRows& rows, std::int64_t n_visited, const Lists& lists, int n_threads,
                 Interrupt& interrupt);

}  // namespace fastface
