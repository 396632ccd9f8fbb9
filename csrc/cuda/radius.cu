// Candidates within a radius: the sweep counts those whose score may reach it, then lists them.
//
// Compiled with what tile.cuh needs; radius_decide.cu does the rest.
#include "tile.cuh"

namespace {

constexpr float kLowest = -3.402823466e38f;
constexpr int kWords = kTileColumns / 32;

// A bar that every candidate whose definition gives at most `key` reaches.
__device__ __forceinline__ float bar_at(double key, int metric, const RowFacts& row,
                                        double candidate_scale, const float* bounds,
                                        int padded_dim) {
  if (!(row.norm < infinity())) return kLowest;
  const double t = row.scale;
  double score;
  if (metric == kInnerProduct) {
    score = -key * t * candidate_scale;
  } else if (metric == kCosine) {
    if (key >= 2.0) return kLowest;
    score = (1.0 - key) * row.own_norm * t;
  } else {
    score = 0.5 * (row.squares - key * t * t);
  }
  const double bar = score - score_error(PRECISION, padded_dim, metric, row, bounds) -
                     definition_slack(padded_dim, row) - kBarSlack * fabs(score);
  return bar > kLowest ? __double2float_rd(bar) : kLowest;
}

struct ListThose {
  const float* bars;    // of the tile's rows, in shared memory
  u32 (*hits)[kWords];  // a bit for each column; zero between tiles
  int first_candidate;
  i64 first_query;  // number of the tile's first row among the candidates; < 0: not among them
  i64 cursor;       // of the row that this thread lists: how many, or where to write
  int* indices;     // null: count only

  __device__ __forceinline__ void operator()(Scores& scores, int tile) {
    const int first = first_candidate + tile * kTileColumns;
#pragma unroll
    for (int r = 0; r < kRowSlots; ++r) {
      const int row = tile_row(r);
      const float bar = bars[row];
#pragma unroll
      for (int c = 0; c < kColumnSlots; ++c) {
        const int column = tile_column(c);
        if (!(scores.at(r, c) >= bar)) continue;
        if (first_query >= 0 && first + column == first_query + row) continue;
        atomicOr(&hits[row][column / 32], 1u << (column % 32));
      }
    }
    __syncthreads();
    const int row = static_cast<int>(threadIdx.x);
    if (row < kTileRows) {
      for (int w = 0; w < kWords; ++w) {
        u32 word = hits[row][w];
        hits[row][w] = 0;
        if (indices == nullptr) {
          cursor += __popc(word);
          continue;
        }
        for (; word != 0; word &= word - 1) indices[cursor++] = first + w * 32 + __ffs(word) - 1;
      }
    }
    // The next tile's first step waits for all threads before anybody sets a bit.
  }
};

}  // namespace

// Block x sweeps tile x of the rows over all candidates.  `limit` is a key: the squared radius for
// the Euclidean metric.  With `indices` null, counts[row] becomes the number of candidates that may
// be inside; else they are written, in increasing order, from offsets[row] on.
extern "C" __global__ void __launch_bounds__(kThreads, kBlocksPerSm)
    radius_screen(const unsigned char* rows, const unsigned char* candidates, const float* biases,
                  i64 n_rows, int n_tiles, int n_steps, int first_candidate, int padded_dim,
                  int metric, const RowFacts* facts, const RowFacts* candidate_facts,
                  const float* bounds, double limit, i64 first_query, i64* counts,
                  const i64* offsets, int* indices) {
  static_assert(kTileRows <= kThreads, "a thread lists a row");
  __shared__ float bars[kTileRows];
  __shared__ u32 hits[kTileRows][kWords];
  const i64 first_row = static_cast<i64>(blockIdx.x) * kTileRows;
  const int own = static_cast<int>(threadIdx.x);
  const bool lists = own < kTileRows && first_row + own < n_rows;
  if (own < kTileRows) {
    bars[own] = lists ? bar_at(limit, metric, facts[first_row + own], candidate_facts[0].scale,
                               bounds, padded_dim)
                      : infinity();
    for (int w = 0; w < kWords; ++w) hits[own][w] = 0;
  }
  __syncthreads();

  const i64 row_bytes = static_cast<i64>(n_steps) * kStepBytes;
  Sweep sweep;
  sweep.rows = rows + first_row * row_bytes;
  sweep.candidates = candidates;
  sweep.biases = biases;
  sweep.n_tiles = n_tiles;
  sweep.n_steps = n_steps;
  sweep.n_chunks = n_steps * kChunks;
  ListThose list;
  list.bars = bars;
  list.hits = hits;
  list.first_candidate = first_candidate;
  list.first_query = first_query < 0 ? -1 : first_query + first_row;
  list.cursor = lists && indices != nullptr ? offsets[first_row + own] : 0;
  list.indices = indices;
  sweep_tiles(sweep, list);
  if (lists && indices == nullptr) counts[first_row + own] = list.cursor;
}
