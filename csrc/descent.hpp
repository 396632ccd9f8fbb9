// Refinement of a whole neighbour graph: each row looks among the neighbours of its neighbours.
//
// Rows are compared by their codes, 8-bit integers, which order them up to a small error; lists
// hold a few more entries than are wanted, and the definition decides at the end.  A pass reads one
// graph and writes another, and integers add up to the same sum in any order: the outcome depends
// neither on threads nor on the instruction set.
#pragma once

#include <cstdint>

#include "matrix.hpp"
#include "parallel.hpp"

namespace fastface {

// Rows as scale * integers, with half their squared norms; the score of a pair is
// <a, b> - |b|^2 / 2, the higher the nearer.
struct Codes {
  const std::int8_t* integers;  // [rows][stride], zero beyond the dimension
  const float* scales;          // [rows]
  const float* halves;          // [rows], half squared norms before rounding
  std::int64_t rows;
  std::int64_t stride;  // a multiple of kCodeStep
};

// Set in an entry of a list that an earlier pass has walked.
constexpr std::uint32_t kWalked = std::uint32_t{1} << 31;
constexpr std::uint32_t kNobody = ~std::uint32_t{0};

// The best `width` candidates of every row, best first, padded with kNobody.
struct Lists {
  std::uint32_t* entries;  // [rows][width]
  std::int64_t width;
};

// Rounds rows, less `shift`, to codes; code i is of row order[i].  Where that puts near rows
// together, passes find what they need in the cache.
void encode(const Matrix& x, const std::int32_t* order, const double* shift, std::int8_t* integers,
            float* scales, float* halves, std::int64_t stride, int n_threads, Interrupt& interrupt);

// One pass: the first `fan` neighbours of the first `fan` neighbours of every row are offered to
// it, but for those that an earlier pass has offered.  Returns how many entries of `to` are yet to
// be walked.
std::int64_t refine(const Codes& codes, const Lists& from, const Lists& to, std::int64_t fan,
                    int n_threads, Interrupt& interrupt);

// Orders some lists by definition: the k first entries of list places[i], by (distance, index), go
// to row i of the output.  List p is of row order[p].
void settle(const Matrix& x, const std::int32_t* order, Metric metric, const Lists& lists,
            const std::int32_t* places, std::int64_t n_places, std::int64_t k, float* distances,
            std::int32_t* indices, int n_threads, Interrupt& interrupt);

}  // namespace fastface
