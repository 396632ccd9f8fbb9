// Products of rows of 8-bit integers that lie scattered in memory.  Integer sums are exact, so that
// every instruction set gives the same.
#pragma once

#include "cpu/kernels.hpp"

namespace fastface {
namespace {

// out[i] = <query, row index[i]>, `dot` being one such product of `stride` values.
template <typename Dot>
inline void code_dots_with(const std::int8_t* query, const std::int8_t* rows, std::int64_t stride,
                           const std::int32_t* index, std::int64_t count, std::int32_t* out,
                           const Dot& dot) {
  constexpr std::int64_t kAhead = 12;
  const auto prefetch = [&](std::int64_t i) {
    const std::int8_t* row = rows + index[i] * stride;
    for (std::int64_t byte = 0; byte < stride; byte += kCodeStep) __builtin_prefetch(row + byte);
  };
  for (std::int64_t i = 0; i < count && i < kAhead; ++i) prefetch(i);
  for (std::int64_t i = 0; i < count; ++i) {
    if (i + kAhead < count) prefetch(i + kAhead);
    out[i] = dot(query, rows + index[i] * stride, stride);
  }
}

// For compilers to vectorise.
inline void code_dots(const std::int8_t* query, const std::int8_t* rows, std::int64_t stride,
                      const std::int32_t* index, std::int64_t count, std::int32_t* out) {
  code_dots_with(query, rows, stride, index, count, out,
                 [](const std::int8_t* x, const std::int8_t* y, std::int64_t size) {
                   std::int32_t sum = 0;
                   for (std::int64_t j = 0; j < size; ++j) sum += std::int32_t{x[j]} * y[j];
                   return sum;
                 });
}

}  // namespace
}  // namespace fastface
