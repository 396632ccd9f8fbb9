// Candidates that may be among a row's nearest, as 64-bit words that sort by score.
#pragma once

#include "device.cuh"

// Higher floats become higher integers.
__device__ __forceinline__ u32 ordered(float score) {
  const u32 bits = static_cast<u32>(__float_as_int(score));
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float unordered(u32 bits) {
  return __int_as_float(static_cast<int>((bits & 0x80000000u) != 0 ? bits & 0x7fffffffu : ~bits));
}

__device__ __forceinline__ u64 survivor(float score, int index) {
  return static_cast<u64>(ordered(score)) << 32 | static_cast<u32>(index);
}
__device__ __forceinline__ u32 order_of(u64 word) { return static_cast<u32>(word >> 32); }
__device__ __forceinline__ int index_of(u64 word) { return static_cast<int>(word); }

// Lists of one row, `stride` words apart.
struct Lists {
  u64* words;
  const int* counts;
  i64 word_stride;
  i64 count_stride;
  int n_lists;
};

__device__ __forceinline__ int warp_total(int value) {
  for (int distance = 16; distance > 0; distance /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  return value;
}

// The k-th highest score of `lists`, in order bits: bit after bit, the highest value that k of them
// reach.  A warp together; there have to be k.
__device__ __forceinline__ u32 kth_order(const Lists& lists, int k) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  u32 reached = 0;
  for (u32 bit = 0x80000000u; bit != 0; bit >>= 1) {
    int count = 0;
    for (int s = 0; s < lists.n_lists; ++s)
      for (int i = lane; i < lists.counts[s * lists.count_stride]; i += 32)
        count += order_of(lists.words[s * lists.word_stride + i]) >= (reached | bit);
    if (warp_total(count) >= k) reached |= bit;
  }
  return reached;
}
