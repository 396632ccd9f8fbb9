// Sums without an order: a value enters as two integers (docs/kmeans.md), which add up to the same
// whoever adds first.
#pragma once

#include "device.cuh"

// The nearest integer to a double below 2^51 in magnitude, ties to even.
__device__ __forceinline__ i64 nearest_integer(double value) { return __double2ll_rn(value); }

struct Limbs {
  i64 high = 0, low = 0;
  __device__ __forceinline__ void add(const Limbs& other) {
    high += other.high;
    low += other.low;
  }
};

__device__ __forceinline__ Limbs to_limbs(double value, double scale, double low_scale) {
  const double scaled = value * scale;
  const double whole = rint(scaled);
  Limbs limbs;
  limbs.high = nearest_integer(whole);
  limbs.low = nearest_integer((scaled - whole) * low_scale);
  return limbs;
}
