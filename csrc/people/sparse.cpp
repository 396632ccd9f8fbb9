#include "sparse.hpp"

#include <algorithm>
#include <numeric>
#include <type_traits>

namespace fastface {
namespace {

constexpr std::int64_t kBlockRows = 2048;
constexpr std::int64_t kWalked = 10;  // neighbours that a walk may go on to

struct Block {
  std::vector<std::int32_t> columns;
  std::vector<float> values;
};

}  // namespace

Lists members_of(const std::int32_t* labels, std::int64_t n, std::int64_t n_labels) {
  Lists members;
  members.offsets.assign(static_cast<std::size_t>(n_labels) + 1, 0);
  for (std::int64_t i = 0; i < n; ++i) members.offsets[labels[i] + 1] += 1;
  for (std::int64_t label = 0; label < n_labels; ++label)
    members.offsets[label + 1] += members.offsets[label];
  members.items.resize(static_cast<std::size_t>(n));
  std::vector<std::int64_t> next(members.offsets.begin(), members.offsets.end() - 1);
  for (std::int64_t i = 0; i < n; ++i)
    members.items[next[labels[i]]++] = static_cast<std::int32_t>(i);
  return members;
}

Lists transposed(const Lists& lists, std::int64_t n_items) {
  Lists result;
  result.offsets.assign(static_cast<std::size_t>(n_items) + 1, 0);
  for (const std::int32_t item : lists.items) result.offsets[item + 1] += 1;
  for (std::int64_t item = 0; item < n_items; ++item)
    result.offsets[item + 1] += result.offsets[item];
  result.items.resize(lists.items.size());
  std::vector<std::int64_t> next(result.offsets.begin(), result.offsets.end() - 1);
  for (std::int64_t row = 0; row < lists.size(); ++row)
    for (const std::int32_t* item = lists.begin(row); item != lists.end(row); ++item)
      result.items[next[*item]++] = static_cast<std::int32_t>(row);
  return result;
}

SparseRows build_rows(const std::vector<std::int32_t>& order, int n_threads, Interrupt& interrupt,
                      const std::function<RowWriter()>& make_writer) {
  const auto n = static_cast<std::int64_t>(order.size());
  const std::int64_t n_blocks = (n + kBlockRows - 1) / kBlockRows;
  std::vector<Block> blocks(static_cast<std::size_t>(n_blocks));
  SparseRows rows;
  rows.offsets.assign(order.size() + 1, 0);
  parallel_for(n_blocks, n_threads, interrupt, [&]() -> Worker {
    return [&, write = make_writer()](std::int64_t index) {
      Block& block = blocks[index];
      const std::int64_t stop = std::min(n, (index + 1) * kBlockRows);
      for (std::int64_t place = index * kBlockRows; place < stop; ++place) {
        const std::size_t before = block.columns.size();
        write(order[place], block.columns, block.values);
        rows.offsets[order[place] + 1] = static_cast<std::int64_t>(block.columns.size() - before);
      }
      block.columns.shrink_to_fit();
      block.values.shrink_to_fit();
    };
  });
  for (std::int64_t row = 0; row < n; ++row) rows.offsets[row + 1] += rows.offsets[row];
  // Columns first, then values: only one of them is there twice.
  const auto put = [&](auto part, auto& target) {
    target.resize(static_cast<std::size_t>(rows.offsets.back()));
    parallel_for(n_blocks, n_threads, interrupt, [&]() -> Worker {
      return [&](std::int64_t index) {
        auto& source = blocks[index].*part;
        auto next = source.begin();
        const std::int64_t stop = std::min(n, (index + 1) * kBlockRows);
        for (std::int64_t place = index * kBlockRows; place < stop; ++place) {
          const std::int64_t start = rows.offsets[order[place]];
          const std::int64_t size = rows.offsets[order[place] + 1] - start;
          std::copy_n(next, size, target.begin() + start);
          next += size;
        }
        std::decay_t<decltype(source)>().swap(source);
      };
    });
  };
  put(&Block::columns, rows.columns);
  put(&Block::values, rows.values);
  return rows;
}

SparseRows build_rows(std::int64_t n, int n_threads, Interrupt& interrupt,
                      const std::function<RowWriter()>& make_writer) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  return build_rows(order, n_threads, interrupt, make_writer);
}

std::vector<std::int32_t> walk(const NeighborLists& graph, double longest) {
  const std::int64_t looked_at = std::min(graph.k, kWalked);
  std::vector<std::int32_t> order, waiting;
  std::vector<char> visited(static_cast<std::size_t>(graph.n), 0);
  order.reserve(static_cast<std::size_t>(graph.n));
  for (std::int64_t start = 0; start < graph.n; ++start) {
    waiting.assign(1, static_cast<std::int32_t>(start));
    while (!waiting.empty()) {
      const std::int64_t face = waiting.back();
      waiting.pop_back();
      if (visited[face]) continue;
      visited[face] = 1;
      order.push_back(static_cast<std::int32_t>(face));
      for (std::int64_t e = face * graph.k + looked_at - 1; e >= face * graph.k; --e) {
        if (graph.distances[e] < longest && !visited[graph.indices[e]])
          waiting.push_back(graph.indices[e]);
      }
    }
  }
  return order;
}

}  // namespace fastface
