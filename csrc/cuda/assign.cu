// Nearest candidate of every row: the sweep keeps the two best scores and a bound on the others.
//
// Compiled with what tile.cuh needs.  `assign_decide.cu` makes labels of the outcome.
#include "best_three.cuh"
#include "tile.cuh"

namespace {

struct KeepBest {
  BestThree best[kRowSlots];
  const float* margins;  // of the tile's rows
  int first_candidate;

  __device__ __forceinline__ void operator()(Scores& scores, int tile) {
#pragma unroll
    for (int r = 0; r < kRowSlots; ++r) {
      float top = scores.at(r, 0);
#pragma unroll
      for (int c = 1; c < kColumnSlots; ++c) top = fmaxf(top, scores.at(r, c));
      // What the quad's best leaves behind by more than the margin cannot matter, in this tile or
      // any other: nearly always that is all the others.
      float quad_top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
      quad_top = fmaxf(quad_top, __shfl_xor_sync(0xffffffffu, quad_top, 2));
      best[r].rest = fmaxf(best[r].rest, __fsub_rd(quad_top, margins[tile_row(r)]));
      if (!(top > best[r].rest)) continue;
#pragma unroll
      for (int c = 0; c < kColumnSlots; ++c)
        best[r].offer(scores.at(r, c), first_candidate + tile * kTileColumns + tile_column(c));
    }
  }
};

__device__ __forceinline__ BestThree exchange(const BestThree& own, int lane_mask) {
  BestThree other;
  other.first = __shfl_xor_sync(0xffffffffu, own.first, lane_mask);
  other.second = __shfl_xor_sync(0xffffffffu, own.second, lane_mask);
  other.rest = __shfl_xor_sync(0xffffffffu, own.rest, lane_mask);
  other.first_index = __shfl_xor_sync(0xffffffffu, own.first_index, lane_mask);
  other.second_index = __shfl_xor_sync(0xffffffffu, own.second_index, lane_mask);
  return other;
}

}  // namespace

// Block (x, y) sweeps tile x of the rows over slice y of the candidates.  Outcome of slice s and
// row i: scores[s][0..2][i] (best, second, bound on the rest) and indices[s][0..1][i].
extern "C" __global__ void __launch_bounds__(kThreads, kBlocksPerSm)
    assign_scores(const unsigned char* rows, const unsigned char* candidates, const float* biases,
                  i64 rows_padded, int n_tiles, int n_steps, int tiles_per_slice,
                  int first_candidate, int padded_dim, int metric, const RowFacts* facts,
                  const float* bounds, float* scores, int* indices) {
  __shared__ float margins[kTileRows];
  const i64 first_row = static_cast<i64>(blockIdx.x) * kTileRows;
  const int first_tile = static_cast<int>(blockIdx.y) * tiles_per_slice;
  for (int i = static_cast<int>(threadIdx.x); i < kTileRows; i += kThreads)
    margins[i] = margin_of(PRECISION, padded_dim, metric, facts[first_row + i], bounds);
  __syncthreads();

  const i64 row_bytes = static_cast<i64>(n_steps) * kStepBytes;
  Sweep sweep;
  sweep.rows = rows + first_row * row_bytes;
  sweep.candidates = candidates + static_cast<i64>(first_tile) * kTileColumns * row_bytes;
  sweep.biases = biases + static_cast<i64>(first_tile) * kTileColumns;
  const int left = n_tiles - first_tile;
  sweep.n_tiles = left < tiles_per_slice ? left : tiles_per_slice;
  sweep.n_steps = n_steps;
  sweep.n_chunks = n_steps * kChunks;
  KeepBest keep;
  keep.margins = margins;
  keep.first_candidate = first_candidate + first_tile * kTileColumns;
  sweep_tiles(sweep, keep);

  // Join the four lanes of a quad, then the warps side by side.
  BestThree* const joined = reinterpret_cast<BestThree*>(dynamic_shared());
#pragma unroll
  for (int r = 0; r < kRowSlots; ++r) {
    keep.best[r].merge(exchange(keep.best[r], 1));
    keep.best[r].merge(exchange(keep.best[r], 2));
    if (lane_id() % 4 == 0)
      joined[warp_column() / kWarpColumns * kTileRows + tile_row(r)] = keep.best[r];
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kTileRows; i += kThreads) {
    BestThree best = joined[i];
    for (int w = 1; w < WARPS_N; ++w) best.merge(joined[w * kTileRows + i]);
    const i64 row = first_row + i;
    float* const to = scores + static_cast<i64>(blockIdx.y) * 3 * rows_padded + row;
    to[0] = best.first;
    to[rows_padded] = best.second;
    to[2 * rows_padded] = best.rest;
    int* const names = indices + static_cast<i64>(blockIdx.y) * 2 * rows_padded + row;
    names[0] = best.first_index;
    names[rows_padded] = best.second_index;
  }
}
