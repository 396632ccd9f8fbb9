// Which edges of a neighbour graph go both ways.
#pragma once

#include <cstdint>

#include "parallel.hpp"

namespace fastface {

enum Direction : std::uint8_t { kTooLong = 0, kOneWay = 1, kMutual = 2 };

// Tells of every edge [n][k] whether it is not below a length, or its end has its start for a
// neighbour too.
void edge_directions(const std::int32_t* indices, const float* distances, std::int64_t n,
                     std::int64_t k, double below, std::uint8_t* kinds, int n_threads,
                     Interrupt& interrupt);

}  // namespace fastface
