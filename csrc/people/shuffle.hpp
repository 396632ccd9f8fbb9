// An order that depends on a seed alone, on every machine.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace fastface {

// SplitMix64 (G. Steele, D. Lea, C. Flood, OOPSLA 2014).
inline std::uint64_t next_random(std::uint64_t& state) {
  std::uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

template <typename T>
void shuffle(std::vector<T>& items, std::uint64_t seed) {
  std::uint64_t state = seed * 0xd1342543de82ef95ULL + 1;
  for (std::uint64_t left = items.size(); left > 1; --left) {
    const std::uint64_t place = (next_random(state) >> 32) * left >> 32;
    std::swap(items[left - 1], items[place]);
  }
}

}  // namespace fastface
