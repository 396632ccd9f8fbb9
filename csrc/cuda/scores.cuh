// How one step of a tile is multiplied: by tensor cores, a warp or a warpgroup at a time, or by
// plain fused multiply-adds; and which thread has which score.
//
// Compile-time: PRECISION, WARPS_M, WARPS_N.  Each warp owns 64 rows and 64 columns (32 for float32
// and 3xTF32).  A thread owns 8 rows, whichever cores compute, and 16 or 8 columns; the four lanes
// of a quad share their rows.
//
// With WARPGROUP_COLUMNS, 128 or 256, four warps multiply together by Hopper's wgmma: 64 rows and
// all columns of the tile.  WARPS_M is a multiple of 4 and WARPS_N is 1; a warp owns 16 rows, a
// thread 2 of them and a quarter of the columns.
#pragma once

#ifdef WARPGROUP_COLUMNS
constexpr bool kWarpgroups = true;
#else
constexpr bool kWarpgroups = false;
#endif

#include "screen.cuh"

constexpr int kStepBytes = 64;
constexpr int kChunkBytes = 16;
constexpr int kChunks = kStepBytes / kChunkBytes;
constexpr int kWarps = WARPS_M * WARPS_N;
constexpr int kThreads = 32 * kWarps;
#ifdef WARPGROUP_COLUMNS
constexpr int kRowSlots = 2;
constexpr int kColumnSlots = WARPGROUP_COLUMNS / 4;
#else
constexpr int kRowSlots = 8;
constexpr int kColumnSlots = PRECISION == PRECISION_BF16 || PRECISION == PRECISION_TF32 ? 16 : 8;
#endif
constexpr int kWarpRows = 8 * kRowSlots;
constexpr int kWarpColumns = 4 * kColumnSlots;
constexpr int kTileRows = WARPS_M * kWarpRows;
constexpr int kTileColumns = WARPS_N * kWarpColumns;
constexpr int kSums = kRowSlots * kColumnSlots;
// What the compiler may count on: 64 Ki registers an SM.
constexpr int kBlocksPerSm = (kWarpgroups ? kSums <= 64 : kThreads <= 128) ? 2 : 1;

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
#elif defined(WARPGROUP_COLUMNS)
  float sums[kSums];
  __device__ __forceinline__ float& at(int row, int column) {
    return sums[column / 2 * 4 + row * 2 + column % 2];
  }
#else
  float sums[kRowSlots / 2][kColumnSlots / 2][4];
  __device__ __forceinline__ float& at(int row, int column) {
    return sums[row / 2][column / 2][row % 2 * 2 + column % 2];
  }
#endif

#ifdef WARPGROUP_COLUMNS
  // Products begin from nothing, which takes no instruction; biases are added at the end.
  __device__ __forceinline__ void start(const float*) { wgmma_forget(sums); }

  __device__ __forceinline__ void finish(const float* biases) {
    wgmma_finish(sums);
    if (biases == nullptr) return;
#pragma unroll
    for (int c = 0; c < kColumnSlots; ++c) {
      const float bias = biases[tile_column(c)];
#pragma unroll
      for (int r = 0; r < kRowSlots; ++r) at(r, c) = at(r, c) + bias;
    }
  }
#else
  __device__ __forceinline__ void start(const float* biases) {
#pragma unroll
    for (int c = 0; c < kColumnSlots; ++c) {
      const float bias = biases == nullptr ? 0.0f : biases[tile_column(c)];
#pragma unroll
      for (int r = 0; r < kRowSlots; ++r) at(r, c) = bias;
    }
  }

  __device__ __forceinline__ void finish(const float*) {}
#endif
};

// Where operands may begin in shared memory; and what a thread does with those it has fetched,
// before it tells the others.
#ifdef WARPGROUP_COLUMNS
__device__ __forceinline__ unsigned char* first_operand() {
  constexpr unsigned kExchanged = 8 * kStepBytes;  // bytes after which the exchange begins anew
  return dynamic_shared() + (0u - shared_address(dynamic_shared())) % kExchanged;
}
__device__ __forceinline__ void publish_step() { wgmma_publish(); }

// Where add_step finds what it is told by its offset from the first operand.
struct Operands {
  u64 rows, columns;  // of the offset 0, for this warpgroup
  __device__ __forceinline__ explicit Operands(const unsigned char* shared) {
    // By a shuffle, so that the compiler knows that all lanes have the same.
    const int group = __shfl_sync(0xffffffffu, static_cast<int>(threadIdx.x) / 128, 0);
    columns = swizzled_matrix(shared);
    rows = columns + static_cast<u32>(group * 64 * kStepBytes >> 4);
  }
};
#else
__device__ __forceinline__ unsigned char* first_operand() { return dynamic_shared(); }
__device__ __forceinline__ void publish_step() {}

struct Operands {
  const unsigned char* first;
  __device__ __forceinline__ explicit Operands(const unsigned char* shared) : first(shared) {}
};
#endif

#if PRECISION == PRECISION_FLOAT32

struct Floats {
  float v[4];
};

__device__ __forceinline__ Floats load_chunk(const unsigned char* tile, int row, int chunk) {
  const float4 four = *reinterpret_cast<const float4*>(tile + swizzled(row, chunk));
  return {{four.x, four.y, four.z, four.w}};
}

// Features enter in increasing order, one fused multiply-add each: pairwise.cu counts on it.
__device__ __forceinline__ void add_step(const Operands& operands, int rows_at, int columns_at,
                                         int n_chunks, int, Scores& scores) {
  const unsigned char *const rows = operands.first + rows_at, *const columns =
                                                                  operands.first + columns_at;
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

#elif defined(WARPGROUP_COLUMNS)

static_assert(PRECISION == PRECISION_BF16 || PRECISION == PRECISION_TF32, "wgmma has no more");
static_assert(WARPS_M % 4 == 0 && WARPS_N == 1, "whole warpgroups, each as wide as the tile");

// Begins the products of a step; the last step's are there afterwards.
__device__ __forceinline__ void add_step(const Operands& operands, int rows_at, int columns_at, int,
                                         int step, Scores& scores) {
  wgmma_begin();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    // Descriptors count in 16 bytes, and shared memory is too small for a sum to overflow.
    const u64 a = operands.rows + static_cast<u32>(rows_at + 32 * half >> 4);
    const u64 b = operands.columns + static_cast<u32>(columns_at + 32 * half >> 4);
#if PRECISION == PRECISION_BF16
    wgmma_bf16(scores.sums, a, b, step + half);
#else
    wgmma_tf32(scores.sums, a, b, step + half);
#endif
  }
  wgmma_commit();
  wgmma_wait<1>();
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

__device__ __forceinline__ void add_step(const Operands& operands, int rows_at, int columns_at, int,
                                         int, Scores& scores) {
  const unsigned char *const rows = operands.first + rows_at, *const columns =
                                                                  operands.first + columns_at;
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
