// Nearest candidates of every query row: screened in low precision, decided by the definition.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "matrix.hpp"
#include "panels.hpp"
#include "parallel.hpp"
#include "screen.hpp"

namespace fastface {

// Candidates packed once and for all, for many searches.  The matrix has to outlive it.
struct Prepared {
  Prepared(const KernelTable& kernels, Metric metric, const Matrix& candidates, int n_threads,
           Interrupt& interrupt);
  Prepared(const Prepared&) = delete;  // panels point at the screen beside them
  Prepared& operator=(const Prepared&) = delete;

  Screen screen;
  Panels floats;
  std::unique_ptr<Panels> integers;  // where they are faster
};

struct SearchProblem {
  Matrix queries;
  Matrix candidates;
  Metric metric;
  bool exclude_self = false;  // candidate i is not a neighbour of query i
  int n_threads = 1;
  std::int64_t memory_limit = 0;       // bytes beyond inputs and outputs; 0: 64 MiB a thread
  const Prepared* prepared = nullptr;  // of the candidates
  // Called by the worker that finished a run of queries, with the first and their number.
  std::function<void(std::int64_t, std::int64_t)> finished;
};

// Thrown where a memory limit leaves no room to work in.
struct TooLittleMemory {
  std::int64_t needed;
};

struct SearchStatistics {
  std::int64_t rechecked_rows = 0;   // more candidates than neighbours went to the definition
  std::int64_t exhaustive_rows = 0;  // every candidate went to the definition
};

// The k nearest candidates of every query, sorted by (distance, index).  Outputs are (n, k).
SearchStatistics search_nearest(const SearchProblem& problem, std::int64_t k, float* distances,
                                std::int32_t* indices, Interrupt& interrupt);

struct RadiusNeighbors {
  std::vector<std::int64_t> offsets;  // n + 1
  std::vector<std::int32_t> indices;  // increasing within a row
  std::vector<float> distances;
};

// Every candidate within `radius` (inclusive, compared in float64) of every query.
RadiusNeighbors search_radius(const SearchProblem& problem, double radius, Interrupt& interrupt);

}  // namespace fastface
