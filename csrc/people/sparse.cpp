#include "sparse.hpp"

#include <algorithm>

namespace fastface {
namespace {

constexpr std::int64_t kBlockRows = 2048;

struct Block {
  std::vector<std::int64_t> ends;
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

SparseRows build_rows(std::int64_t n, int n_threads, Interrupt& interrupt,
                      const std::function<RowWriter()>& make_writer) {
  const std::int64_t n_blocks = (n + kBlockRows - 1) / kBlockRows;
  std::vector<Block> blocks(static_cast<std::size_t>(n_blocks));
  parallel_for(n_blocks, n_threads, interrupt, [&]() -> Worker {
    return [&, write = make_writer()](std::int64_t index) {
      Block& block = blocks[index];
      const std::int64_t stop = std::min(n, (index + 1) * kBlockRows);
      for (std::int64_t row = index * kBlockRows; row < stop; ++row) {
        write(row, block.columns, block.values);
        block.ends.push_back(static_cast<std::int64_t>(block.columns.size()));
      }
    };
  });
  SparseRows rows;
  std::size_t total = 0;
  for (const Block& block : blocks) total += block.columns.size();
  rows.offsets.reserve(static_cast<std::size_t>(n) + 1);
  rows.columns.reserve(total);
  rows.values.reserve(total);
  for (Block& block : blocks) {
    const auto start = static_cast<std::int64_t>(rows.columns.size());
    for (const std::int64_t end : block.ends) rows.offsets.push_back(start + end);
    rows.columns.insert(rows.columns.end(), block.columns.begin(), block.columns.end());
    rows.values.insert(rows.values.end(), block.values.begin(), block.values.end());
    block = Block{};
  }
  return rows;
}

}  // namespace fastface
