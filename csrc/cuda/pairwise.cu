// Whole matrices of distances: float32 sums in a fixed order, the same bits as on the CPU
// (docs/exactness.md).  Entries for which float32 is not good enough are marked, and
// `pairwise_decide.cu` puts the definition there.
//
// Compiled with PRECISION 0 and what else tile.cuh needs.
#include "pairwise.cuh"
#include "tile.cuh"

namespace {

// Below these, cancellation has cost a float32 distance too many digits; as in
// csrc/cpu/kernels.hpp.
constexpr float kDoubtfulSquaredShare = 0.0625f;
constexpr float kDoubtfulCosine = 0.015625f;
constexpr float kDoubtfulTiny = 1e-30f;
constexpr float kDoubtfulHuge = 1e37f;

// Comparisons are written so that what is no number is doubtful.
__device__ __forceinline__ float distance_of(float dot, float row_term, float column_term,
                                             int metric, bool& doubtful) {
  if (metric == kCosine) {
    const float distance = __fsub_rn(1.0f, dot);
    doubtful = !(distance >= kDoubtfulCosine);
    return fminf(distance, 2.0f);
  }
  if (metric == kInnerProduct) {
    doubtful = !(fabsf(dot) <= kDoubtfulHuge);
    return -dot;
  }
  const float sum = __fadd_rn(row_term, column_term);
  const float squared = __fsub_rn(sum, __fadd_rn(dot, dot));
  doubtful = !(squared >= fmaxf(__fmul_rn(sum, kDoubtfulSquaredShare), kDoubtfulTiny)) ||
             !(sum <= kDoubtfulHuge);
  return metric == kEuclidean ? __fsqrt_rn(squared) : squared;
}

struct WriteDistances {
  const float* row_terms;     // of the block's tile
  const float* column_terms;  // of the block's tile
  float* out;                 // of the block's tile
  i64 out_stride;
  int n_rows;     // of the tile that exist
  int n_columns;  // likewise
  int metric;
  int* n_doubtful;  // in shared memory

  __device__ __forceinline__ void operator()(Scores& dots, int) {
    int count = 0;
#pragma unroll
    for (int r = 0; r < kRowSlots; ++r) {
      const int row = tile_row(r);
      if (row >= n_rows) continue;
      float* const to = out + row * out_stride;
      const float row_term = row_terms[row];
#pragma unroll
      for (int c = 0; c < kColumnSlots; ++c) {
        const int column = tile_column(c);
        if (column >= n_columns) continue;
        bool doubtful;
        const float distance =
            distance_of(dots.at(r, c), row_term, column_terms[column], metric, doubtful);
        to[column] = doubtful ? __int_as_float(kDoubtfulBits) : distance;
        count += doubtful;
      }
    }
    if (count != 0) atomicAdd(n_doubtful, count);
  }
};

}  // namespace

// Block (x, y) writes tile (x of the rows, y of the columns).  Operands are float32 rows, packed as
// candidates with terms; `dim` is that of the rows themselves.  `doubtful` gets the number of
// marked entries of every tile: [gridDim.y][gridDim.x].
extern "C" __global__ void __launch_bounds__(kThreads, kBlocksPerSm)
    pairwise_tiles(const unsigned char* rows, const unsigned char* columns, const float* row_terms,
                   const float* column_terms, i64 n_rows, i64 n_columns, int n_steps, int dim,
                   int metric, float* out, i64 out_stride, int* doubtful) {
  __shared__ int n_doubtful;
  if (threadIdx.x == 0) n_doubtful = 0;
  __syncthreads();
  const i64 first_row = static_cast<i64>(blockIdx.x) * kTileRows;
  const i64 first_column = static_cast<i64>(blockIdx.y) * kTileColumns;
  const i64 row_bytes = static_cast<i64>(n_steps) * kStepBytes;
  Sweep sweep;
  sweep.rows = rows + first_row * row_bytes;
  sweep.candidates = columns + first_column * row_bytes;
  sweep.biases = nullptr;
  sweep.n_tiles = 1;
  sweep.n_steps = n_steps;
  sweep.n_chunks = (dim + 3) / 4;  // more zeros could change the sign of a zero
  WriteDistances write;
  write.row_terms = row_terms + first_row;
  write.column_terms = column_terms + first_column;
  write.out = out + first_row * out_stride + first_column;
  write.out_stride = out_stride;
  write.n_rows = static_cast<int>(n_rows - first_row < kTileRows ? n_rows - first_row : kTileRows);
  write.n_columns = static_cast<int>(
      n_columns - first_column < kTileColumns ? n_columns - first_column : kTileColumns);
  write.metric = metric;
  write.n_doubtful = &n_doubtful;
  sweep_tiles(sweep, write);
  if (threadIdx.x == 0) doubtful[blockIdx.y * gridDim.x + blockIdx.x] = n_doubtful;
}
