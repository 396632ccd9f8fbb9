// Scores of a tile of rows against tile after tile of candidates, in registers.
//
// Operands are rows of 64-byte steps (operands.cu).  Steps are brought into shared memory by
// cp.async, several ahead of their use, also over the end of a tile of candidates, so that the
// epilogue of one tile runs while operands of the next arrive.  With RESIDENT the rows' steps stay
// in shared memory once they are there, which halves what has to come through the L2 cache.
//
// Compile-time: STAGES, RESIDENT and what scores.cuh needs.
#pragma once

#include "scores.cuh"

constexpr int kStageRows = (RESIDENT ? 0 : kTileRows) + kTileColumns;
// Steps that are fetched before they are used.  A warpgroup's products of a step may still be under
// way when those of the next begin, so that two stages are read from.
constexpr int kAhead = STAGES - (kWarpgroups ? 2 : 1);
static_assert(kAhead > 0, "a step is fetched while another is used");

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
  unsigned char* const shared = first_operand();
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
  for (int i = 0; i < kAhead; ++i) fetch();
  int stage_number = 0;
  for (int tile = 0; tile < sweep.n_tiles; ++tile) {
    const float* const biases =
        sweep.biases == nullptr ? nullptr : sweep.biases + tile * kTileColumns;
    Scores scores;
    scores.start(biases);
#ifdef WARPGROUP_COLUMNS
#pragma unroll 1  // copies of the loop would need copies of the sums
#endif
    for (int step = 0; step < sweep.n_steps; ++step) {
      cp_async_wait<kAhead - 1>();
      publish_step();
      __syncthreads();  // the step is there, and nobody reads the stage that is fetched into next
      fetch();
      const unsigned char* const columns = stages + stage_number * kStageRows * kStepBytes;
      const unsigned char* const rows =
          RESIDENT ? shared + step * kTileRows * kStepBytes : columns + kTileColumns * kStepBytes;
      add_step(rows, columns, sweep.n_chunks - step * kChunks, step, scores);
      stage_number = stage_number + 1 == STAGES ? 0 : stage_number + 1;
    }
    scores.finish(biases);
    epilogue(scores, tile);
  }
  cp_async_wait<0>();
  __syncthreads();
}
