// Labels out of the scores of assign.cu: settled at once, between two candidates, or against all
// of them, the last two by the definition.
//
// Compiled with X_TYPE and Y_TYPE (storage of rows and candidates).
#include "best_three.cuh"
#include "definition.cuh"

typedef StorageType<X_TYPE>::type X;
typedef StorageType<Y_TYPE>::type Y;

namespace {

constexpr int kThreads = 256;
constexpr int kHalfWarps = kThreads / kSumLanes;

__device__ __forceinline__ BestThree merged(const float* scores, const int* indices, int n_slices,
                                            i64 rows_padded, i64 row) {
  BestThree best;
  for (int s = 0; s < n_slices; ++s) {
    const float* const score = scores + static_cast<i64>(s) * 3 * rows_padded + row;
    const int* const index = indices + static_cast<i64>(s) * 2 * rows_padded + row;
    BestThree other;
    other.first = score[0];
    other.second = score[rows_padded];
    other.rest = score[2 * rows_padded];
    other.first_index = index[0];
    other.second_index = index[rows_padded];
    best.merge(other);
  }
  return best;
}

}  // namespace

// Half a warp a row.  Row i of the scores is row list[i] of x, labels and distances.  Adds rows
// that two candidates do not settle to `doubtful`; counters: how many of those, and how many were
// settled between two.
extern "C" __global__ void __launch_bounds__(kThreads)
    assign_decide(const X* x, i64 x_stride, const int* list, const Y* y, i64 y_stride, i64 n_rows,
                  int dim, int padded_dim, int metric, int precision, const RowFacts* x_facts,
                  const RowFacts* y_facts, const float* bounds, const float* scores,
                  const int* indices, int n_slices, i64 rows_padded, int* labels, float* distances,
                  int* doubtful, int* counters) {
  const i64 i = static_cast<i64>(blockIdx.x) * kHalfWarps + threadIdx.x / kSumLanes;
  const bool exists = i < n_rows;
  const i64 row = exists ? i : 0;
  const i64 source = exists && list != nullptr ? static_cast<i64>(list[row]) : row;
  const RowFacts facts = x_facts[row];
  const BestThree best = merged(scores, indices, n_slices, rows_padded, row);
  const float margin = margin_of(precision, padded_dim, metric, facts, bounds);
  const float bar = best.bar(margin);
  const bool open = !(best.rest <= bar) || best.first_index < 0 || !(margin < infinity());
  const bool two = !open && best.second > bar;

  const bool first_asked = exists && !open && (two || distances != nullptr);
  const bool second_asked = exists && two;
  int label = best.first_index;
  double key = 0.0;
  // All lanes of the warp go through the definition together, with nothing to add where it is
  // not asked.
  if (__any_sync(0xffffffffu, first_asked)) {
    const i64 at = first_asked ? static_cast<i64>(label) : 0;
    key = distance_key(x + source * x_stride, y + at * y_stride, first_asked ? dim : 0, metric,
                       facts.own_norm, y_facts[at].own_norm);
  }
  if (__any_sync(0xffffffffu, second_asked)) {
    const i64 at = second_asked ? static_cast<i64>(best.second_index) : 0;
    const double other =
        distance_key(x + source * x_stride, y + at * y_stride, second_asked ? dim : 0, metric,
                     facts.own_norm, y_facts[at].own_norm);
    if (second_asked && comes_before(other, best.second_index, key, label)) {
      label = best.second_index;
      key = other;
    }
  }
  if (!exists || threadIdx.x % kSumLanes != 0) return;
  if (open) {
    doubtful[atomicAdd(counters, 1)] = static_cast<int>(source);
    return;
  }
  if (two) atomicAdd(counters + 1, 1);
  labels[source] = label;
  if (distances != nullptr) distances[source] = to_distance(key, metric);
}

// Every candidate by the definition, for the rows that `doubtful` names.  A block a row, in strides
// of the grid.  Cosine needs y_facts.
extern "C" __global__ void __launch_bounds__(kThreads, 4)
    assign_recheck(const X* x, i64 x_stride, const Y* y, i64 y_stride, const int* doubtful,
                   const int* count, i64 n_candidates, int dim, int metric, const RowFacts* y_facts,
                   int* labels, float* distances) {
  __shared__ double keys[kHalfWarps];
  __shared__ int names[kHalfWarps];
  const int half = static_cast<int>(threadIdx.x) / kSumLanes;
  for (int d = static_cast<int>(blockIdx.x); d < *count; d += static_cast<int>(gridDim.x)) {
    const i64 row = doubtful[d];
    const X* const from = x + row * x_stride;
    const double x_norm = metric == kCosine ? row_norm(from, dim) : 0.0;
    double best = wide_infinity();
    int label = 0x7fffffff;
    for (i64 first = 0; first < n_candidates; first += kHalfWarps) {
      const bool exists = first + half < n_candidates;
      const i64 j = exists ? first + half : 0;
      const double y_norm = metric == kCosine ? y_facts[j].own_norm : 0.0;
      const double key =
          distance_key(from, y + j * y_stride, exists ? dim : 0, metric, x_norm, y_norm);
      if (exists && comes_before(key, static_cast<int>(j), best, label)) {
        best = key;
        label = static_cast<int>(j);
      }
    }
    if (threadIdx.x % kSumLanes == 0) {
      keys[half] = best;
      names[half] = label;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int h = 1; h < kHalfWarps; ++h)
        if (comes_before(keys[h], names[h], best, label)) {
          best = keys[h];
          label = names[h];
        }
      labels[row] = label;
      if (distances != nullptr) distances[row] = to_distance(best, metric);
    }
    __syncthreads();
  }
}
