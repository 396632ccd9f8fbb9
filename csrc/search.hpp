// Nearest candidates of every query row: screened in float32, decided by the definition.
#pragma once

#include <cstdint>
#include <vector>

#include "matrix.hpp"
#include "parallel.hpp"

namespace fastface {

template <typename Storage>
struct SearchProblem {
  Matrix<Storage> queries;
  Matrix<Storage> candidates;
  Metric metric;
  bool exclude_self;  // candidate i is not a neighbour of query i
  int n_threads;
};

struct SearchStatistics {
  std::int64_t rechecked_rows = 0;   // more candidates than neighbours went to the definition
  std::int64_t exhaustive_rows = 0;  // every candidate went to the definition
};

// The k nearest candidates of every query, sorted by (distance, index).  Outputs are (n, k).
template <typename Storage>
SearchStatistics search_nearest(const SearchProblem<Storage>& problem, std::int64_t k,
                                float* distances, std::int32_t* indices, Interrupt& interrupt);

struct RadiusNeighbors {
  std::vector<std::int64_t> offsets;  // n + 1
  std::vector<std::int32_t> indices;  // increasing within a row
  std::vector<float> distances;
};

// Every candidate within `radius` (inclusive, compared in float64) of every query.
template <typename Storage>
RadiusNeighbors search_radius(const SearchProblem<Storage>& problem, double radius,
                              Interrupt& interrupt);

}  // namespace fastface
