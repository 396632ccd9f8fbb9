// k-means++: distances of rows to the nearest center so far, and what candidates would win.
//
// The potential is a sum of integers, so that it does not depend on any order.  Compiled with
// X_TYPE and Y_TYPE (storage of centers).
#include "definition.cuh"
#include "fixed_point.cuh"

typedef StorageType<X_TYPE>::type X;
typedef StorageType<Y_TYPE>::type Y;

namespace {

constexpr int kThreads = 256;
constexpr int kHalfWarps = kThreads / kSumLanes;
constexpr int kWarps = kThreads / 32;

__device__ __forceinline__ double weighted(const double* weights, i64 i, double distance) {
  return weights == nullptr ? distance : distance * weights[i];
}

__device__ __forceinline__ i64 share_of(const double* weights, i64 i, double distance,
                                        double scale) {
  return nearest_integer(rint(weighted(weights, i, distance) * scale));
}

__device__ __forceinline__ i64 warp_sum(i64 value) {
  for (int distance = 16; distance > 0; distance /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  return value;
}

// The sum over a block, for its first thread.
__device__ __forceinline__ i64 block_sum(i64 value, i64* parts) {
  const i64 own = warp_sum(value);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = own;
  __syncthreads();
  i64 sum = 0;
  for (int w = 0; w < kWarps; ++w) sum += parts[w];
  __syncthreads();
  return sum;
}

}  // namespace

// Takes one more center: nearest[i] becomes the distance to it, where that is less or `is_first`.
// `largest`, if given, is raised to the largest weighted distance.  Norms are needed for cosine.
extern "C" __global__ void __launch_bounds__(kThreads)
    seed_accept(const X* x, i64 stride, i64 n_rows, int dim, int metric, const Y* center,
                const double* norms, const double* center_norm, const double* weights, int is_first,
                double* nearest, u64* largest) {
  const i64 i = static_cast<i64>(blockIdx.x) * kHalfWarps + threadIdx.x / kSumLanes;
  const bool exists = i < n_rows;
  const i64 row = exists ? i : 0;
  const bool cosine = metric == kCosine;
  const double key = distance_key(center, x + row * stride, exists ? dim : 0, metric,
                                  cosine ? *center_norm : 0.0, cosine ? norms[row] : 0.0);
  if (!exists || threadIdx.x % kSumLanes != 0) return;
  const double before = is_first != 0 ? wide_infinity() : nearest[i];
  const double now = key < before ? key : before;
  nearest[i] = now;
  const double most = weighted(weights, i, now);
  if (largest != nullptr && most > 0.0) raise(largest, most);
}

// Adds to potentials[c] what would be left after taking candidate c.  Block (b, c) sums over 16
// rows at a time, in strides of the grid.
extern "C" __global__ void __launch_bounds__(kThreads)
    seed_evaluate(const X* x, i64 stride, i64 n_rows, int dim, int metric, const Y* candidates,
                  i64 candidate_stride, const double* norms, const double* candidate_norms,
                  const double* weights, const double* nearest, double scale, i64* potentials) {
  __shared__ i64 parts[kWarps];
  const bool cosine = metric == kCosine;
  const Y* const candidate = candidates + static_cast<i64>(blockIdx.y) * candidate_stride;
  const double candidate_norm = cosine ? candidate_norms[blockIdx.y] : 0.0;
  i64 sum = 0;
  for (i64 first = static_cast<i64>(blockIdx.x) * kHalfWarps; first < n_rows;
       first += static_cast<i64>(gridDim.x) * kHalfWarps) {
    const i64 i = first + threadIdx.x / kSumLanes;
    const bool exists = i < n_rows;
    const i64 row = exists ? i : 0;
    const double key = distance_key(candidate, x + row * stride, exists ? dim : 0, metric,
                                    candidate_norm, cosine ? norms[row] : 0.0);
    if (exists && threadIdx.x % kSumLanes == 0)
      sum += share_of(weights, i, key < nearest[i] ? key : nearest[i], scale);
  }
  const i64 total = block_sum(sum, parts);
  if (threadIdx.x == 0) add_to(potentials + blockIdx.y, total);
}

// block_sums[b]: the potential of rows b * rows_per_block ...
extern "C" __global__ void __launch_bounds__(kThreads)
    seed_block_sums(const double* nearest, const double* weights, i64 n_rows, i64 rows_per_block,
                    double scale, i64* block_sums) {
  __shared__ i64 parts[kWarps];
  const i64 first = static_cast<i64>(blockIdx.x) * rows_per_block;
  const i64 last = first + rows_per_block < n_rows ? first + rows_per_block : n_rows;
  i64 sum = 0;
  for (i64 i = first + threadIdx.x; i < last; i += kThreads)
    sum += share_of(weights, i, nearest[i], scale);
  const i64 total = block_sum(sum, parts);
  if (threadIdx.x == 0) block_sums[blockIdx.x] = total;
}

// The first row of [first, last) at which the running sum, `before` included, exceeds `target`;
// `last` where there is none.  One warp.
extern "C" __global__ void __launch_bounds__(32)
    seed_locate(const double* nearest, const double* weights, i64 first, i64 last, double scale,
                i64 before, i64 target, i64* found) {
  const int lane = static_cast<int>(threadIdx.x);
  for (i64 base = first; base < last; base += 32) {
    const i64 i = base + lane;
    i64 running = i < last ? share_of(weights, i, nearest[i], scale) : 0;
    for (int distance = 1; distance < 32; distance *= 2) {
      const i64 other = __shfl_up_sync(0xffffffffu, running, distance);
      if (lane >= distance) running += other;
    }
    const u32 over = __ballot_sync(0xffffffffu, i < last && before + running > target);
    if (over != 0) {
      if (lane == 0) *found = base + __ffs(over) - 1;
      return;
    }
    before += __shfl_sync(0xffffffffu, running, 31);
  }
  if (lane == 0) *found = last;
}
