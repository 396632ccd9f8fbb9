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

constexpr int kStageBytes = kStageRows * kStepBytes;

// What one block of threads sweeps.
struct Sweep {
  const unsigned char* rows;        // of the block's tile
  const unsigned char* candidates;  // of the first tile
  const float* biases;              // of the candidates from there on, or null
  int n_tiles;
  int n_steps;   // 64-byte steps of a row
  int n_chunks;  // 16-byte chunks of a row that count; the plain cores leave the others out
};

// Brings this thread's chunks of one step of `count` rows to shared memory; the first one's places
// are given.
template <int count>
__device__ __forceinline__ void fetch_rows(const unsigned char* from, i64 row_bytes,
                                           unsigned char* to) {
  constexpr int kPerThread = count * kChunks / kThreads;
  static_assert(kPerThread * kThreads == count * kChunks, "threads share the chunks evenly");
  constexpr int kRowsApart = kThreads / kChunks;
  static_assert(kRowsApart % 8 == 0, "all chunks of a thread are exchanged alike");
#pragma unroll
  for (int i = 0; i < kPerThread; ++i, from += kRowsApart * row_bytes)
    cp_async_16(to + i * kRowsApart * kStepBytes, from);
}

// Fetches step after step, tile after tile.
class Fetcher {
 public:
  __device__ __forceinline__ Fetcher(const Sweep& sweep, unsigned char* shared, int first_stage)
      : row_bytes_(static_cast<i64>(sweep.n_steps) * kStepBytes),
        n_steps_(sweep.n_steps),
        tiles_left_(sweep.n_tiles),
        first_stage_(first_stage),
        stage_(first_stage) {
    const int row = static_cast<int>(threadIdx.x) / kChunks;
    const int chunk = static_cast<int>(threadIdx.x) % kChunks;
    const i64 place = row * row_bytes_ + chunk * kChunkBytes;
    rows_ = sweep.rows + place;
    candidates_ = sweep.candidates + place;
    to_ = shared + swizzled(row, chunk);
  }

  __device__ __forceinline__ void next() {
    if (tiles_left_ > 0) {
      if (!RESIDENT) {
        fetch_rows<kTileRows>(rows_, row_bytes_, to_ + stage_ + kTileColumns * kStepBytes);
      } else if (resident_at_ >= 0) {
        fetch_rows<kTileRows>(rows_, row_bytes_, to_ + resident_at_);
        resident_at_ += kTileRows * kStepBytes;
      }
      fetch_rows<kTileColumns>(candidates_, row_bytes_, to_ + stage_);
      stage_ = stage_ + kStageBytes == first_stage_ + STAGES * kStageBytes ? first_stage_
                                                                           : stage_ + kStageBytes;
      rows_ += kStepBytes;
      candidates_ += kStepBytes;
      if (++step_ == n_steps_) {
        step_ = 0;
        --tiles_left_;
        resident_at_ = -1;  // all are there, and stay
        rows_ -= row_bytes_;
        candidates_ += (kTileColumns - 1) * row_bytes_;
      }
    }
    cp_async_commit();
  }

 private:
  const unsigned char *rows_, *candidates_;  // this thread's next chunks
  unsigned char* to_;                        // its first place, less the offset of what it is in
  i64 row_bytes_;
  int n_steps_, tiles_left_, step_ = 0;
  int first_stage_, stage_;  // offsets from the first operand
  int resident_at_ = 0;      // likewise, of the next step of resident rows
};

// Calls epilogue(scores, number of the tile) for each tile of candidates.
template <typename Epilogue>
__device__ __forceinline__ void sweep_tiles(const Sweep& sweep, Epilogue& epilogue) {
  unsigned char* const shared = first_operand();
  const int first_stage = RESIDENT ? sweep.n_steps * kTileRows * kStepBytes : 0;
  const Operands operands(shared);
  Fetcher fetcher(sweep, shared, first_stage);
#pragma unroll
  for (int i = 0; i < kAhead; ++i) fetcher.next();
  int columns = first_stage;
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
      fetcher.next();
      const int rows =
          RESIDENT ? step * kTileRows * kStepBytes : columns + kTileColumns * kStepBytes;
      add_step(operands, rows, columns, sweep.n_chunks - step * kChunks, step, scores);
      columns += kStageBytes;
      if (columns == first_stage + STAGES * kStageBytes) columns = first_stage;
    }
    scores.finish(biases);
    epilogue(scores, tile);
  }
  cp_async_wait<0>();
  __syncthreads();
}
