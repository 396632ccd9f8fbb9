// Scores of a tile of rows against tile after tile of candidates, in registers.
//
// Operands are rows of 64-byte steps (operands.cu).  Steps are brought into shared memory by
// cp.async, STAGES - 1 ahead of their use, also over the end of a tile of candidates, so that the
// epilogue of one tile runs while operands of the next arrive.  With RESIDENT the rows' steps stay
// in shared memory once they are there, which halves what has to come through the L2 cache.
//
// Compile-time: PRECISION, WARPS_M, WARPS_N, STAGES, RESIDENT.  Each warp owns 64 rows and 64
// columns (32 for float32 and 3xTF32).  A thread owns 8 rows, whichever cores compute, and
// 16 or 8 columns; the four lanes of a quad share their rows.
#pragma once

#include "screen.cuh"

constexpr int kStepBytes = 64;
constexpr int kChunkBytes = 16;
constexpr int kChunks = kStepBytes / kChunkBytes;
constexpr int kWarps = WARPS_M * WARPS_N;
constexpr int kThreads = 32 * kWarps;
constexpr int kRowSlots = 8;
constexpr int kColumnSlots = PRECISION == PRECISION_BF16 || PRECISION == PRECISION_TF32 ? 16 : 8;
constexpr int kWarpRows = 64;
constexpr int kWarpColumns = 4 * kColumnSlots;
constexpr int kTileRows = WARPS_M * kWarpRows;
constexpr int kTileColumns = WARPS_N * kWarpColumns;
constexpr int kStageRows = (RESIDENT ? 0 : kTileRows) + kTileColumns;
// What the compiler may count on: 64 Ki registers an SM.
constexpr int kBlocksPerSm = kThreads <= 128 ? 2 : 1;

__device__ __forceinline__ int lane_id() { return static_cast<int>(threadIdx.x % 32); }
__device__ __forceinline__ int warp_row() {
  return static_cast<int>(threadIdx.x / 32) / WARPS_N * kWarpRows;
}
__device__ __forceinline__ int warp_column() {
  return static_cast<int>(threadIdx.x / 32) % WARPS_N * kWarpColumns;
}

// Where a thread's scores belong within the tile.
__device__ __forceinline__ int tile_row(int slot) { return warp_row() + slot * 8 + lane_id() / 4; }
__device__ __forceinline__ int tile_column(int slot) {
#if PRECISION == PRECISION_FLOAT32
  return warp_column() + slot * 4 + lane_id() % 4;
#else
  return warp_column() + slot / 2 * 8 + lane_id() % 4 * 2 + slot % 2;
#endif
}

// Rows of 64 bytes, two to a line of all banks: exchanging chunks by the row keeps eight
// neighbouring rows that are read at once in different banks.
__device__ __forceinline__ int swizzled(int row, int chunk) {
  const u32 other = static_cast<u32>(chunk) ^ ((static_cast<u32>(row) >> 1) & (kChunks - 1u));
  return row * kStepBytes + static_cast<int>(other) * kChunkBytes;
}

struct Scores {
#if PRECISION == PRECISION_FLOAT32
  float sums[kRowSlots][kColumnSlots];
  __device__ __forceinline__ float& at(int row, int column) { return sums[row][column]; }
#else
  float sums[kRowSlots / 2][kColumnSlots / 2][4];
  __device__ __forceinline__ float& at(int row, int column) {
    return sums[row / 2][column / 2][row % 2 * 2 + column % 2];
  }
#endif

  __device__ __forceinline__ void start(const float* biases) {
#pragma unroll
    for (int c = 0; c < kColumnSlots; ++c) {
      const float bias = biases == nullptr ? 0.0f : biases[tile_column(c)];
#pragma unroll
      for (int r = 0; r < kRowSlots; ++r) at(r, c) = bias;
    }
  }
};

#if PRECISION == PRECISION_FLOAT32

struct Floats {
  float v[4];
};

__device__ __forceinline__ Floats load_chunk(const unsigned char* tile, int row, int chunk) {
  const float4 four = *reinterpret_cast<const float4*>(tile + swizzled(row, chunk));
  return {{four.x, four.y, four.z, four.w}};
}

// Features enter in increasing order, one fused multiply-add each: pairwise.cu counts on it.
__device__ __forceinline__ void add_step(const unsigned char* rows, const unsigned char* columns,
                                         int n_chunks, Scores& scores) {
#pragma unroll
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    if (chunk >= n_chunks) break;
    Floats b[kColumnSlots];
#pragma unroll
    for (int c = 0; c < kColumnSlots; ++c) b[c] = load_chunk(columns, tile_column(c), chunk);
#pragma unroll
    for (int r = 0; r < kRowSlots; ++r) {
      const Floats a = load_chunk(rows, tile_row(r), chunk);
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int c = 0; c < kColumnSlots; ++c)
          scores.at(r, c) = fused(a.v[j], b[c].v[j], scores.at(r, c));
    }
  }
}

#else

#if PRECISION == PRECISION_TF32X3
// value = high + low up to 2^-22 of it, both with the 10 bits that the tensor cores read.
__device__ __forceinline__ void split(u32 value, u32& high, u32& low) {
  high = (value + 0x1000u) & 0xffffe000u;
  const float rest =
      __int_as_float(static_cast<int>(value)) - __int_as_float(static_cast<int>(high));
  low = (static_cast<u32>(__float_as_int(rest)) + 0x1000u) & 0xffffe000u;
}
#endif

__device__ __forceinline__ void add_step(const unsigned char* rows, const unsigned char* columns,
                                         int, Scores& scores) {
  constexpr int kRowTiles = kRowSlots / 2;        // of 16 rows
  constexpr int kColumnPairs = kColumnSlots / 4;  // of 2 x 8 columns
  const int lane = lane_id();
  const int a_row = warp_row() + lane % 16;
  const int b_row = warp_column() + lane % 8 + lane / 16 * 8;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    u32 a[kRowTiles][4];
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
      ldmatrix_x4(rows + swizzled(a_row + 16 * m, 2 * half + lane / 16), a[m]);
#if PRECISION == PRECISION_TF32X3
    u32 a_low[kRowTiles][4];
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
      for (int e = 0; e < 4; ++e) split(a[m][e], a[m][e], a_low[m][e]);
#endif
#pragma unroll
    for (int n = 0; n < kColumnPairs; ++n) {
      u32 b[4];
      ldmatrix_x4(columns + swizzled(b_row + 16 * n, 2 * half + lane / 8 % 2), b);
#if PRECISION == PRECISION_TF32X3
      u32 b_low[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) split(b[e], b[e], b_low[e]);
#endif
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const u32 high[2] = {b[2 * part], b[2 * part + 1]};
#if PRECISION == PRECISION_TF32X3
        const u32 low[2] = {b_low[2 * part], b_low[2 * part + 1]};
#endif
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          float (&sum)[4] = scores.sums[m][2 * n + part];
#if PRECISION == PRECISION_BF16
          mma_bf16(sum, a[m], high);
#elif PRECISION == PRECISION_TF32
          mma_tf32(sum, a[m], high);
#else
          mma_tf32(sum, a_low[m], high);
          mma_tf32(sum, a[m], low);
          mma_tf32(sum, a[m], high);
#endif
        }
      }
    }
  }
}

#endif

// Brings one step of `count` rows, `row_bytes` apart, to shared memory.
template <int count>
__device__ __forceinline__ void fetch_rows(const unsigned char* source, i64 row_bytes,
                                           unsigned char* target) {
  constexpr int kPerThread = count * kChunks / kThreads;
  static_assert(kPerThread * kThreads == count * kChunks, "threads share the chunks evenly");
  constexpr int kRowsApart = kThreads / kChunks;
  static_assert(kRowsApart % 8 == 0, "all chunks of a thread are exchanged alike");
  const int row = static_cast<int>(threadIdx.x) / kChunks;
  const int chunk = static_cast<int>(threadIdx.x) % kChunks;
  const unsigned char* from = source + row * row_bytes + chunk * kChunkBytes;
  unsigned char* const to = target + swizzled(row, chunk);
#pragma unroll
  for (int i = 0; i < kPerThread; ++i, from += kRowsApart * row_bytes)
    cp_async_16(to + i * kRowsApart * kStepBytes, from);
}

// What one block of threads sweeps.
struct Sweep {
  const unsigned char* rows;        // of the block's tile
  const unsigned char* candidates;  // of the first tile
  const float* biases;              // of the candidates from there on, or null
  int n_tiles;
  int n_steps;   // 64-byte steps of a row
  int n_chunks;  // 16-byte chunks of a row that count; the plain cores leave the others out
};

// Calls epilogue(scores, number of the tile) for each tile of candidates.
template <typename Epilogue>
__device__ __forceinline__ void sweep_tiles(const Sweep& sweep, Epilogue& epilogue) {
  unsigned char* const shared = dynamic_shared();
  unsigned char* const stages =
      shared + (RESIDENT ? static_cast<i64>(sweep.n_steps) * kTileRows * kStepBytes : 0);
  const i64 row_bytes = static_cast<i64>(sweep.n_steps) * kStepBytes;

  int fetch_tile = 0, fetch_step = 0, fetch_stage = 0;
  const auto fetch = [&] {
    if (fetch_tile < sweep.n_tiles) {
      unsigned char* const stage = stages + fetch_stage * kStageRows * kStepBytes;
      const unsigned char* const rows = sweep.rows + fetch_step * kStepBytes;
      if (!RESIDENT)
        fetch_rows<kTileRows>(rows, row_bytes, stage + kTileColumns * kStepBytes);
      else if (fetch_tile == 0)
        fetch_rows<kTileRows>(rows, row_bytes, shared + fetch_step * kTileRows * kStepBytes);
      fetch_rows<kTileColumns>(
          sweep.candidates + fetch_tile * kTileColumns * row_bytes + fetch_step * kStepBytes,
          row_bytes, stage);
      if (++fetch_step == sweep.n_steps) fetch_step = 0, ++fetch_tile;
      fetch_stage = fetch_stage + 1 == STAGES ? 0 : fetch_stage + 1;
    }
    cp_async_commit();
  };

#pragma unroll
  for (int i = 0; i < STAGES - 1; ++i) fetch();
  int stage_number = 0;
  Scores scores;
  for (int tile = 0; tile < sweep.n_tiles; ++tile) {
    scores.start(sweep.biases == nullptr ? nullptr : sweep.biases + tile * kTileColumns);
    for (int step = 0; step < sweep.n_steps; ++step) {
      cp_async_wait<STAGES - 2>();
      __syncthreads();  // the step is there, and nobody reads the stage that is fetched into next
      fetch();
      const unsigned char* const columns = stages + stage_number * kStageRows * kStepBytes;
      const unsigned char* const rows =
          RESIDENT ? shared + step * kTileRows * kStepBytes : columns + kTileColumns * kStepBytes;
      add_step(rows, columns, sweep.n_chunks - step * kChunks, scores);
      stage_number = stage_number + 1 == STAGES ? 0 : stage_number + 1;
    }
    epilogue(scores, tile);
  }
  cp_async_wait<0>();
  __syncthreads();
}
