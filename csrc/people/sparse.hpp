// What the grouping methods read and hand on: neighbour lists, groups, sparse rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "../parallel.hpp"

namespace fastface {

// The neighbour lists of n faces, k each, nearest first.
struct NeighborLists {
  std::int64_t n;
  std::int64_t k;
  const std::int32_t* indices;
  const float* distances;

  // Where `wanted` stands in the list of a face, or -1.
  std::int64_t place_of(std::int64_t face, std::int64_t wanted) const {
    const std::int32_t* list = indices + face * k;
    const auto name = static_cast<std::int32_t>(wanted);
    bool holds = false;  // a loop without an exit is many times as fast
    for (std::int64_t place = 0; place < k; ++place) holds |= list[place] == name;
    return holds ? std::find(list, list + k, name) - list : -1;
  }
};

// Row i holds the items [offsets[i], offsets[i + 1]).
struct Lists {
  std::vector<std::int64_t> offsets{0};
  std::vector<std::int32_t> items;

  std::int64_t size() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
  const std::int32_t* begin(std::int64_t row) const { return items.data() + offsets[row]; }
  const std::int32_t* end(std::int64_t row) const { return items.data() + offsets[row + 1]; }
};

// The same with a value beside each item.
struct SparseRows {
  std::vector<std::int64_t> offsets{0};
  std::vector<std::int32_t> columns;
  std::vector<float> values;

  std::int64_t size() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
};

// Inverts `labels`: which rows bear each label, in increasing order.
Lists members_of(const std::int32_t* labels, std::int64_t n, std::int64_t n_labels);

// Inverts lists of items below `n_items`: which rows hold each item.
Lists transposed(const Lists& lists, std::int64_t n_items);

// A worker's row writer: appends the row to the columns and values it is given.
using RowWriter = std::function<void(std::int64_t row, std::vector<std::int32_t>& columns,
                                     std::vector<float>& values)>;

// Makes as many rows as `order` names, each once, in parallel and about in that order: rows that
// read the same memory should follow each other.  `make_writer` is called once a thread.
SparseRows build_rows(const std::vector<std::int32_t>& order, int n_threads, Interrupt& interrupt,
                      const std::function<RowWriter()>& make_writer);

// The same from the first row to the last.
SparseRows build_rows(std::int64_t n, int n_threads, Interrupt& interrupt,
                      const std::function<RowWriter()>& make_writer);

// An order of all faces in which neighbours nearer than `longest` follow each other: a walk from
// each face to the nearest that has not been visited.
std::vector<std::int32_t> walk(const NeighborLists& graph, double longest);

// Sixteen partial sums in a fixed order, which the compiler keeps in registers.
inline float dot(const float* a, const float* b, std::int64_t dim) {
  constexpr int kLanes = 16;
  float lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes)
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += a[i + lane] * b[i + lane];
  float rest = 0;
  for (; i < dim; ++i) rest += a[i] * b[i];
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  return lanes[0] + rest;
}

}  // namespace fastface
