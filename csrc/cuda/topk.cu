// The k nearest candidates of every row: the sweep collects those that reach a bar, which rises to
// what k of them have proven.
//
// Compiled with what tile.cuh needs and CAPACITY, of a row's list; topk_decide.cu does the rest.
#include "survivors.cuh"
#include "tile.cuh"

namespace {

constexpr float kLowest = -3.402823466e38f;

// A list this long may not take another tile.
constexpr int kFull = CAPACITY - kTileColumns;

struct CollectBest {
  float* bars;           // of the tile's rows, in shared memory
  int* counts;           // likewise
  const float* margins;  // likewise
  u64* entries;          // [kTileRows][CAPACITY]
  int k;
  int first_candidate;
  i64 first_query;  // number of the tile's first row among the candidates; < 0: not among them

  __device__ __forceinline__ void operator()(Scores& scores, int tile) {
    const int first = first_candidate + tile * kTileColumns;
#pragma unroll
    for (int r = 0; r < kRowSlots; ++r) {
      const int row = tile_row(r);
      const float bar = bars[row];
      float top = scores.at(r, 0);
#pragma unroll
      for (int c = 1; c < kColumnSlots; ++c) top = fmaxf(top, scores.at(r, c));
      if (!(top >= bar)) continue;
#pragma unroll
      for (int c = 0; c < kColumnSlots; ++c) {
        const int index = first + tile_column(c);
        if (!(scores.at(r, c) >= bar) || (first_query >= 0 && index == first_query + row)) continue;
        entries[row * CAPACITY + atomicAdd(counts + row, 1)] = survivor(scores.at(r, c), index);
      }
    }
    __syncthreads();
    const int warp = static_cast<int>(threadIdx.x / 32);
    for (int row = warp; row < kTileRows; row += kWarps)
      if (counts[row] > kFull && counts[row] <= CAPACITY) compact(row);
    // The next tile's first step waits for all threads before anybody reads the bars.
  }

  // Drops what cannot be among the k nearest.  A warp together.
  __device__ __forceinline__ void compact(int row) {
    const int lane = lane_id();
    u64* const list = entries + row * CAPACITY;
    const int count = counts[row];
    const Lists lists = {list, counts + row, 0, 0, 1};
    const float bar = fmaxf(__fsub_rd(unordered(kth_order(lists, k)), margins[row]), kLowest);
    int kept = 0;
    for (int first = 0; first < count; first += 32) {
      const bool exists = first + lane < count;
      const u64 word = exists ? list[first + lane] : 0;
      const bool keep = exists && unordered(order_of(word)) >= bar;
      const u32 others = __ballot_sync(0xffffffffu, keep);
      __syncwarp();  // who is written over has been read
      if (keep) list[kept + __popc(others & ((1u << lane) - 1u))] = word;
      kept += __popc(others);
      __syncwarp();
    }
    if (lane == 0) {
      const bool crowded = kept > kFull;
      counts[row] = crowded ? CAPACITY + 1 : kept;
      bars[row] = crowded ? infinity() : bar;
    }
    __syncwarp();
  }
};

}  // namespace

// Block (x, y) sweeps tile x of the rows over slice y of the candidates.  entries[slice][row]
// [CAPACITY]; counts[slice][row], more than CAPACITY where near ties did not fit.  k may be at most
// CAPACITY - kTileColumns.
extern "C" __global__ void __launch_bounds__(kThreads, kBlocksPerSm)
    topk_screen(const unsigned char* rows, const unsigned char* candidates, const float* biases,
                i64 rows_padded, int n_tiles, int n_steps, int tiles_per_slice, int first_candidate,
                int padded_dim, int metric, const RowFacts* facts, const float* bounds, int k,
                i64 first_query, u64* entries, int* counts) {
  __shared__ float margins[kTileRows];
  __shared__ float bars[kTileRows];
  __shared__ int own_counts[kTileRows];
  const i64 first_row = static_cast<i64>(blockIdx.x) * kTileRows;
  const int first_tile = static_cast<int>(blockIdx.y) * tiles_per_slice;
  for (int i = static_cast<int>(threadIdx.x); i < kTileRows; i += kThreads) {
    margins[i] = margin_of(PRECISION, padded_dim, metric, facts[first_row + i], bounds);
    bars[i] = kLowest;
    own_counts[i] = 0;
  }
  __syncthreads();

  const i64 row_bytes = static_cast<i64>(n_steps) * kStepBytes;
  const i64 list = static_cast<i64>(blockIdx.y) * rows_padded + first_row;
  Sweep sweep;
  sweep.rows = rows + first_row * row_bytes;
  sweep.candidates = candidates + static_cast<i64>(first_tile) * kTileColumns * row_bytes;
  sweep.biases = biases + static_cast<i64>(first_tile) * kTileColumns;
  const int left = n_tiles - first_tile;
  sweep.n_tiles = left < tiles_per_slice ? left : tiles_per_slice;
  sweep.n_steps = n_steps;
  sweep.n_chunks = n_steps * kChunks;
  CollectBest collect;
  collect.bars = bars;
  collect.counts = own_counts;
  collect.margins = margins;
  collect.entries = entries + list * CAPACITY;
  collect.k = k;
  collect.first_candidate = first_candidate + first_tile * kTileColumns;
  collect.first_query = first_query < 0 ? -1 : first_query + first_row;
  sweep_tiles(sweep, collect);
  for (int i = static_cast<int>(threadIdx.x); i < kTileRows; i += kThreads)
    counts[list + i] = own_counts[i];
}
