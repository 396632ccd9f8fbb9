// The k nearest by the definition, out of the lists of topk.cu, sorted by (distance, index).
//
// Compiled with X_TYPE, Y_TYPE and CAPACITY.
#include "definition.cuh"
#include "screen.cuh"
#include "survivors.cuh"

typedef StorageType<X_TYPE>::type X;
typedef StorageType<Y_TYPE>::type Y;

namespace {

constexpr int kWarps = 4;
constexpr int kRecheckThreads = 256;
constexpr int kHalfWarps = kRecheckThreads / kSumLanes;
constexpr int kMostNeighbours = 128;

__device__ __forceinline__ int rank_among(double key, int index, const double* keys,
                                          const int* names, int n) {
  int rank = 0;
  for (int i = 0; i < n; ++i) rank += comes_before(keys[i], names[i], key, index);
  return rank;
}

}  // namespace

// A warp a row, four a block.  Rows that the lists do not settle are added to `doubtful`;
// counters: how many of those, and for how many rows more than k candidates were judged.
extern "C" __global__ void __launch_bounds__(32 * kWarps)
    topk_decide(const X* x, i64 x_stride, const Y* y, i64 y_stride, i64 n_rows, int dim,
                int padded_dim, int metric, int precision, const RowFacts* x_facts,
                const RowFacts* y_facts, const float* bounds, u64* entries, const int* counts,
                int n_slices, i64 rows_padded, int k, float* distances, int* indices, int* doubtful,
                int* counters) {
  __shared__ double keys[kWarps][CAPACITY];
  __shared__ int names[kWarps][CAPACITY];
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const i64 row = static_cast<i64>(blockIdx.x) * kWarps + warp;
  if (row >= n_rows) return;
  const RowFacts facts = x_facts[row];
  const float margin = margin_of(precision, padded_dim, metric, facts, bounds);
  const Lists lists = {entries + row * CAPACITY, counts + row, rows_padded * CAPACITY, rows_padded,
                       n_slices};
  int total = 0;
  bool crowded = false;
  for (int s = 0; s < n_slices; ++s) {
    const int count = lists.counts[s * lists.count_stride];
    crowded = crowded || count > CAPACITY;
    total += count;
  }

  int kept = 0;
  if (!crowded && total >= k) {
    const float bar = __fsub_rd(unordered(kth_order(lists, k)), margin);
    for (int s = 0; s < n_slices; ++s)
      for (int first = 0; first < lists.counts[s * lists.count_stride]; first += 32) {
        const bool exists = first + lane < lists.counts[s * lists.count_stride];
        const u64 word = exists ? lists.words[s * lists.word_stride + first + lane] : 0;
        const bool keep = exists && unordered(order_of(word)) >= bar;
        const u32 others = __ballot_sync(0xffffffffu, keep);
        const int at = kept + __popc(others & ((1u << lane) - 1u));
        if (keep && at < CAPACITY) names[warp][at] = index_of(word);
        kept += __popc(others);
      }
  }
  if (kept < k || kept > CAPACITY) {
    if (lane == 0) doubtful[atomicAdd(counters, 1)] = static_cast<int>(row);
    return;
  }
  if (lane == 0 && kept > k) atomicAdd(counters + 1, 1);
  __syncwarp();

  for (int first = 0; first < kept; first += 2) {
    const int mine = first + lane / kSumLanes;
    const bool exists = mine < kept;
    const i64 j = names[warp][exists ? mine : first];
    const double key = distance_key(x + row * x_stride, y + j * y_stride, exists ? dim : 0, metric,
                                    facts.own_norm, y_facts[j].own_norm);
    if (exists && lane % kSumLanes == 0) keys[warp][mine] = key;
  }
  __syncwarp();
  for (int i = lane; i < kept; i += 32) {
    const double key = keys[warp][i];
    const int rank = rank_among(key, names[warp][i], keys[warp], names[warp], kept);
    if (rank >= k) continue;
    distances[row * k + rank] = to_distance(key, metric);
    indices[row * k + rank] = names[warp][i];
  }
}

// Every candidate by the definition, for the rows that `doubtful` names.  A block a row, in strides
// of the grid.  Candidate first_query + row is left out where first_query >= 0.
extern "C" __global__ void __launch_bounds__(kRecheckThreads)
    topk_recheck(const X* x, i64 x_stride, const Y* y, i64 y_stride, const int* doubtful,
                 const int* count, i64 n_candidates, int dim, int metric, const RowFacts* y_facts,
                 int k, i64 first_query, float* distances, int* indices) {
  constexpr int kItems = kMostNeighbours + kRecheckThreads;
  __shared__ double keys[kItems];  // the best so far, then a batch of candidates
  __shared__ int names[kItems];
  const int thread = static_cast<int>(threadIdx.x);
  const int half = thread / kSumLanes;
  for (int d = static_cast<int>(blockIdx.x); d < *count; d += static_cast<int>(gridDim.x)) {
    const i64 row = doubtful[d];
    const X* const from = x + row * x_stride;
    const double x_norm = metric == kCosine ? row_norm(from, dim) : 0.0;
    for (int i = thread; i < k; i += kRecheckThreads) {
      keys[i] = wide_infinity();
      names[i] = 0x7fffffff - k + i;
    }
    for (i64 first = 0; first < n_candidates; first += kRecheckThreads) {
      for (int i = 0; i < kRecheckThreads / kHalfWarps; ++i) {
        const int item = i * kHalfWarps + half;
        const i64 j = first + item;
        const bool exists = j < n_candidates && !(first_query >= 0 && j == first_query + row);
        const i64 at = exists ? j : 0;
        const double y_norm = metric == kCosine ? y_facts[at].own_norm : 0.0;
        const double key =
            distance_key(from, y + at * y_stride, exists ? dim : 0, metric, x_norm, y_norm);
        if (thread % kSumLanes == 0) {
          keys[k + item] = exists ? key : wide_infinity();
          names[k + item] = exists ? static_cast<int>(j) : 0x7fffffff;
        }
      }
      __syncthreads();
      // Ranks first, then everybody writes where he belongs.
      const int n_items = k + kRecheckThreads;
      double own_key[2] = {0.0, 0.0};
      int own_name[2] = {0, 0};
      int own_rank[2] = {k, k};
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        const int i = thread + s * kRecheckThreads;
        if (i >= n_items || !(keys[i] < wide_infinity() || names[i] < 0x7fffffff)) continue;
        own_key[s] = keys[i];
        own_name[s] = names[i];
        own_rank[s] = rank_among(keys[i], names[i], keys, names, n_items);
      }
      __syncthreads();
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        if (own_rank[s] >= k) continue;
        keys[own_rank[s]] = own_key[s];
        names[own_rank[s]] = own_name[s];
      }
      __syncthreads();
    }
    for (int i = thread; i < k; i += kRecheckThreads) {
      distances[row * k + i] = to_distance(keys[i], metric);
      indices[row * k + i] = names[i];
    }
    __syncthreads();
  }
}
