// Work on single rows: bringing them into the form tiles read.
//
// Simd offers, beside what exact_sums.hpp names: splat and store_narrow (to float32).
#pragma once

#include "cpu/exact_sums.hpp"

namespace fastface {
namespace {

template <typename Simd, typename X>
double load_row(const void* source, const double* shift, double scale, std::int64_t dim,
                std::int64_t padded_dim, float* out) {
  constexpr std::int64_t kStep = Simd::kDoubles;
  const X* x = static_cast<const X*>(source);
  const auto factor = Simd::splat(scale);
  typename Simd::Doubles squares[2] = {Simd::zero(), Simd::zero()};
  const auto one_vector = [&](const X* from, const double* s, float* to, int sum) {
    const auto value = Simd::mul(Simd::sub(Simd::load(from), Simd::load(s)), factor);
    Simd::store_narrow(to, value);
    squares[sum] = Simd::add(squares[sum], Simd::mul(value, value));
  };
  const std::int64_t whole = dim - dim % (2 * kStep);
  for (std::int64_t j = 0; j < whole; j += 2 * kStep) {
    one_vector(x + j, shift + j, out + j, 0);
    one_vector(x + j + kStep, shift + j + kStep, out + j + kStep, 1);
  }
  for (std::int64_t j = whole; j < dim; j += kStep) {
    const std::int64_t count = dim - j < kStep ? dim - j : kStep;
    X last[kStep] = {};
    double last_shift[kStep] = {};
    float last_out[kStep];
    copy_some(x + j, count, last);
    copy_some(shift + j, count, last_shift);
    one_vector(last, last_shift, last_out, 0);
    copy_some(last_out, count, out + j);
  }
  for (std::int64_t j = dim; j < padded_dim; ++j) out[j] = 0.0f;
  double lanes[kStep];
  Simd::store(lanes, Simd::add(squares[0], squares[1]));
  double sum = 0.0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace
}  // namespace fastface
