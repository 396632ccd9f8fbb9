// Which of the candidates that radius.cu lists are inside, by the definition.
//
// Compiled with X_TYPE and Y_TYPE.
#include "definition.cuh"
#include "screen.cuh"

typedef StorageType<X_TYPE>::type X;
typedef StorageType<Y_TYPE>::type Y;

namespace {
constexpr int kWarps = 8;
}  // namespace

// A warp a row.  Candidates outside get their index i turned into -1 - i; distances are written
// beside those inside, and counts[row] becomes their number.
extern "C" __global__ void __launch_bounds__(32 * kWarps)
    radius_decide(const X* x, i64 x_stride, const Y* y, i64 y_stride, i64 n_rows, int dim,
                  int metric, double limit, const RowFacts* x_facts, const RowFacts* y_facts,
                  const i64* offsets, int* indices, float* distances, i64* counts) {
  const i64 row = static_cast<i64>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (row >= n_rows) return;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const double x_norm = x_facts[row].own_norm;
  i64 inside = 0;
  for (i64 first = offsets[row]; first < offsets[row + 1]; first += 2) {
    const i64 mine = first + lane / kSumLanes;
    const bool exists = mine < offsets[row + 1];
    const i64 j = exists ? indices[mine] : 0;
    const double key = distance_key(x + row * x_stride, y + j * y_stride, exists ? dim : 0, metric,
                                    x_norm, y_facts[j].own_norm);
    const bool is_inside = exists && key <= limit;
    const u32 votes = __ballot_sync(0xffffffffu, is_inside && lane % kSumLanes == 0);
    inside += __popc(votes);
    if (exists && lane % kSumLanes == 0) {
      if (is_inside)
        distances[mine] = to_distance(key, metric);
      else
        indices[mine] = -1 - static_cast<int>(j);
    }
  }
  if (lane == 0) counts[row] = inside;
}

// A warp a row: moves those inside to where the final offsets say, in their order.
extern "C" __global__ void __launch_bounds__(32 * kWarps)
    radius_compact(i64 n_rows, const i64* offsets, const int* indices, const float* distances,
                   const i64* final_offsets, int* final_indices, float* final_distances) {
  const i64 row = static_cast<i64>(blockIdx.x) * kWarps + threadIdx.x / 32;
  if (row >= n_rows) return;
  const int lane = static_cast<int>(threadIdx.x % 32);
  i64 to = final_offsets[row];
  for (i64 first = offsets[row]; first < offsets[row + 1]; first += 32) {
    const i64 mine = first + lane;
    const bool inside = mine < offsets[row + 1] && indices[mine] >= 0;
    const u32 others = __ballot_sync(0xffffffffu, inside);
    if (inside) {
      const i64 at = to + __popc(others & ((1u << lane) - 1u));
      final_indices[at] = indices[mine];
      final_distances[at] = distances[mine];
    }
    to += __popc(others);
  }
}
