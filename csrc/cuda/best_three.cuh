// The two best candidates of a row by score, and a bound on the score of all others.
#pragma once

#include "screen.cuh"

struct BestThree {
  float first = -infinity(), second = -infinity();
  float rest = -infinity();  // no other candidate that can matter scores higher
  int first_index = -1, second_index = -1;

  __device__ __forceinline__ void offer(float score, int index) {
    if (!(score > rest)) return;
    if (score > second) {
      rest = second;
      const bool leads = score > first;
      second = leads ? first : score;
      second_index = leads ? first_index : index;
      first = leads ? score : first;
      first_index = leads ? index : first_index;
    } else {
      rest = score;
    }
  }

  // Who scores lower than the best by more than the margin cannot matter.
  __device__ __forceinline__ float bar(float margin) const { return __fsub_rd(first, margin); }

  __device__ __forceinline__ void merge(const BestThree& other) {
    offer(other.first, other.first_index);
    offer(other.second, other.second_index);
    rest = fmaxf(rest, other.rest);
  }
};
