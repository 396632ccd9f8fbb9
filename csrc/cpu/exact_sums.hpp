// The definition of a distance: a float64 sum over features in an order that does not depend on
// the instruction set.
//
// Feature j goes to partial sum j mod 16, in increasing j; the 16 partial sums are then added
// pairwise: l with l + 8, then l + 4, l + 2, l + 1.  No fused multiply-add: for products of two
// float32 values it would make no difference (they are exact in float64), for squared differences
// and for float64 input it would.
//
// Simd is the instruction set's own struct of one-line operations: Doubles, kDoubles, zero, load
// (widening from any storage), add, sub, mul, reduce.
#pragma once

#include "cpu/kernels.hpp"

namespace fastface {
namespace {  // files with different -m flags must not share one copy of a template

// The standard library's templates stay out of these files for the same reason.
template <typename T>
inline void copy_some(const T* from, std::int64_t count, T* to) {
  for (std::int64_t j = 0; j < count; ++j) to[j] = from[j];
}

template <typename Simd, typename X, typename Y, typename Term>
inline double fixed_order_sum(const X* x, const Y* y, std::int64_t dim, const Term& term) {
  constexpr int kVectors = kSumLanes / Simd::kDoubles;
  typename Simd::Doubles lanes[kVectors];
  for (int v = 0; v < kVectors; ++v) lanes[v] = Simd::zero();
  const auto add_block = [&](const X* left, const Y* right) {
    for (int v = 0; v < kVectors; ++v)
      lanes[v] = Simd::add(lanes[v], term(Simd::load(left + v * Simd::kDoubles),
                                          Simd::load(right + v * Simd::kDoubles)));
  };
  const std::int64_t whole = dim - dim % kSumLanes;
  for (std::int64_t j = 0; j < whole; j += kSumLanes) add_block(x + j, y + j);
  if (whole < dim) {  // zeros add nothing, not even a sign
    X last_x[kSumLanes] = {};
    Y last_y[kSumLanes] = {};
    copy_some(x + whole, dim - whole, last_x);
    copy_some(y + whole, dim - whole, last_y);
    add_block(last_x, last_y);
  }
  return Simd::reduce(lanes);
}

template <typename Simd, typename X, typename Y>
double exact_dot(const void* x, const void* y, std::int64_t dim) {
  using Doubles = typename Simd::Doubles;
  return fixed_order_sum<Simd>(static_cast<const X*>(x), static_cast<const Y*>(y), dim,
                               [](Doubles a, Doubles b) { return Simd::mul(a, b); });
}

template <typename Simd, typename X, typename Y>
double exact_squared_distance(const void* x, const void* y, std::int64_t dim) {
  using Doubles = typename Simd::Doubles;
  return fixed_order_sum<Simd>(static_cast<const X*>(x), static_cast<const Y*>(y), dim,
                               [](Doubles a, Doubles b) {
                                 const Doubles difference = Simd::sub(a, b);
                                 return Simd::mul(difference, difference);
                               });
}

}  // namespace
}  // namespace fastface
