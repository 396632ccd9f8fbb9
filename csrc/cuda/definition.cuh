// The definition of a distance (docs/exactness.md): a float64 sum over features in a fixed order,
// the same to the bit as on the CPU.
//
// Sixteen lanes, half a warp, hold the sixteen partial sums of one pair: feature j belongs to lane
// j mod 16.  Nothing is contracted (--fmad=false).
#pragma once

#include "device.cuh"

constexpr int kSumLanes = 16;
constexpr double kSmallestSquaredNorm = 1e-280;  // below, a row counts as zero for cosine

// Adds the partial sums pairwise: l and l + 8, then 4, 2, 1.  Every lane gets the sum, because
// which of two floats is added to which does not matter.  All lanes of a warp have to take part.
__device__ __forceinline__ double sum_lanes(double partial) {
  for (int distance = kSumLanes / 2; distance > 0; distance /= 2)
    partial = partial + __shfl_xor_sync(0xffffffffu, partial, distance);
  return partial;
}

template <typename X, typename Y>
__device__ __forceinline__ double dot_lane(const X* x, const Y* y, int dim) {
  double sum = 0.0;
  for (int j = threadIdx.x % kSumLanes; j < dim; j += kSumLanes)
    sum = sum + widen(x[j]) * widen(y[j]);
  return sum;
}

template <typename X, typename Y>
__device__ __forceinline__ double squared_distance_lane(const X* x, const Y* y, int dim) {
  double sum = 0.0;
  for (int j = threadIdx.x % kSumLanes; j < dim; j += kSumLanes) {
    const double difference = widen(x[j]) - widen(y[j]);
    sum = sum + difference * difference;
  }
  return sum;
}

// The norm that the cosine metric divides by.
__device__ __forceinline__ double cosine_norm(double squared) {
  return squared < kSmallestSquaredNorm ? 0.0 : sqrt(squared);
}

template <typename X>
__device__ __forceinline__ double row_norm(const X* x, int dim) {
  return cosine_norm(sum_lanes(dot_lane(x, x, dim)));
}

__device__ __forceinline__ double cosine_key(double dot, double x_norm, double y_norm) {
  if (x_norm == 0.0 || y_norm == 0.0) return 1.0;
  const double key = 1.0 - dot / (x_norm * y_norm);
  return key < 0.0 ? 0.0 : key > 2.0 ? 2.0 : key;
}

// The value by which neighbours are ordered.  A half warp computes it together; norms are needed
// for cosine alone.  A half without a pair takes part with dim = 0.
template <typename X, typename Y>
__device__ __forceinline__ double distance_key(const X* x, const Y* y, int dim, int metric,
                                               double x_norm, double y_norm) {
  const double partial =
      is_euclidean(metric) ? squared_distance_lane(x, y, dim) : dot_lane(x, y, dim);
  const double sum = sum_lanes(partial);
  if (metric == kCosine) return cosine_key(sum, x_norm, y_norm);
  return metric == kInnerProduct ? -sum : sum;
}

__device__ __forceinline__ float to_distance(double key, int metric) {
  return __double2float_rn(metric == kEuclidean ? sqrt(key) : key);
}

// Whether a candidate comes before another: by key, ties by index.
__device__ __forceinline__ bool comes_before(double key, int index, double other_key,
                                             int other_index) {
  return key < other_key || (key == other_key && index < other_index);
}
