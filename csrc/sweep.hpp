// What both searches share: packed operands, the sweep over tiles, and the judge of one row.
#pragma once

#include <algorithm>
#include <limits>

#include "cpu/dispatch.hpp"
#include "screen.hpp"
#include "search.hpp"

namespace fastface {

constexpr std::int64_t kPackedRowBytes = std::int64_t{1} << 20;     // query rows of one block
constexpr std::int64_t kSharedPanelBytes = std::int64_t{48} << 20;  // packed once for all threads
constexpr std::int64_t kPanelBlockBytes = std::int64_t{1} << 20;    // else packed block by block
constexpr std::int64_t kFewQueries = 8;  // fewer are not worth packing the candidates for
constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <typename Storage>
std::vector<double> row_norms(const KernelTable& kernels, const Matrix<Storage>& matrix) {
  const Definition definition{kernels, Metric::kInnerProduct, matrix.dim};
  RowReader<Storage> read(matrix);
  std::vector<double> norms(static_cast<std::size_t>(matrix.rows));
  for (std::int64_t i = 0; i < matrix.rows; ++i) {
    const auto* row = read(i);
    norms[i] = std::sqrt(definition.dot(row, row));
  }
  return norms;
}

// What every block of queries shares.
template <typename Storage>
struct Plan {
  const SearchProblem<Storage>& problem;
  const KernelTable& kernels;
  Definition definition;
  std::vector<double> candidate_norms;
  double largest_norm;
  std::int64_t block_rows;
  bool shared_panels;
  AlignedFloats panels;
  AlignedFloats biases;

  explicit Plan(const SearchProblem<Storage>& p)
      : problem(p),
        kernels(active_kernels()),
        definition{kernels, p.metric, p.queries.dim},
        candidate_norms(row_norms(kernels, p.candidates)),
        largest_norm(candidate_norms.empty()
                         ? 0.0
                         : *std::max_element(candidate_norms.begin(), candidate_norms.end())),
        block_rows(rows_per_block(p, kernels)),
        shared_panels(p.queries.rows > kFewQueries &&
                      padded(p.candidates.rows) * p.candidates.dim * 4 <= kSharedPanelBytes),
        panels(shared_panels ? padded(p.candidates.rows) * p.candidates.dim : 0),
        biases(shared_panels ? padded(p.candidates.rows) : 0) {
    if (shared_panels)
      pack_panels(p.candidates, 0, p.candidates.rows, candidate_norms.data(), p.metric,
                  kernels.panel_width, panels.get(), biases.get());
  }

  std::int64_t padded(std::int64_t count) const {
    return (count + kernels.panel_width - 1) / kernels.panel_width * kernels.panel_width;
  }

  static std::int64_t rows_per_block(const SearchProblem<Storage>& p, const KernelTable& kernels) {
    const std::int64_t fit = kPackedRowBytes / (4 * std::max<std::int64_t>(p.queries.dim, 1));
    // At least four blocks a thread, so that threads end together.
    const std::int64_t share = p.queries.rows / (4 * p.n_threads) + 1;
    const std::int64_t tile = kernels.tile_rows;
    const std::int64_t rows = std::clamp<std::int64_t>(std::min(fit, share), 10 * tile, 2048);
    return (rows + tile - 1) / tile * tile;
  }

  std::int64_t n_blocks() const { return (problem.queries.rows + block_rows - 1) / block_rows; }
};

// Scores one block of query rows against every candidate and hands survivors to `sink`, which owns
// the thresholds: sink.thresholds() is one float a row, sink.add(row, score, index) may raise them.
template <typename Storage, typename Sink>
bool sweep(const Plan<Storage>& plan, std::int64_t first, std::int64_t count, Sink& sink,
           Interrupt& interrupt, bool calling_thread) {
  const SearchProblem<Storage>& problem = plan.problem;
  const KernelTable& kernels = plan.kernels;
  const std::int64_t dim = problem.queries.dim;
  const std::int64_t m = problem.candidates.rows;
  const int tile = kernels.tile_rows;
  const int width = kernels.panel_width;

  AlignedFloats rows(plan.block_rows * dim);
  pack_rows(problem.queries, first, count, tile, rows.get());

  const std::int64_t panel_floats = width * std::max<std::int64_t>(dim, 1);
  const std::int64_t panels_per_block =
      std::max<std::int64_t>(1, kPanelBlockBytes / (4 * panel_floats));
  AlignedFloats own_panels(plan.shared_panels ? 0 : panels_per_block * panel_floats);
  AlignedFloats own_biases(plan.shared_panels ? 0 : panels_per_block * width);

  alignas(64) float scores[kMaxTileRows * kMaxPanelWidth];
  std::uint32_t survivors[kMaxTileRows];
  for (std::int64_t start = 0; start < m; start += panels_per_block * width) {
    const std::int64_t stop = std::min(m, start + panels_per_block * width);
    const float* panels = plan.panels.get() + start * dim;
    const float* biases = plan.biases.get() + start;
    if (!plan.shared_panels) {
      pack_panels(problem.candidates, start, stop - start, plan.candidate_norms.data(),
                  problem.metric, width, own_panels.get(), own_biases.get());
      panels = own_panels.get();
      biases = own_biases.get();
    }
    for (std::int64_t base = start; base < stop; base += width) {
      const float* panel = panels + (base - start) * dim;
      for (std::int64_t row = 0; row < count; row += tile) {
        kernels.score_tile(rows.get() + row * dim, panel, biases + (base - start), dim,
                           sink.thresholds() + row, scores, survivors);
        for (int r = 0; r < tile; ++r) {
          for (std::uint32_t mask = survivors[r]; mask != 0; mask &= mask - 1) {
            const int lane = __builtin_ctz(mask);
            const std::int64_t index = base + lane;
            if (problem.exclude_self && index == first + row + r) continue;
            if (row + r < count && index < m)
              sink.add(row + r, scores[r * width + lane], static_cast<std::int32_t>(index));
          }
        }
      }
      if (interrupt.stopped(calling_thread)) return false;
    }
  }
  return true;
}

// Decides one row by the definition alone: over its survivors, or over everybody.
template <typename Storage>
class Judge {
 public:
  explicit Judge(const Plan<Storage>& plan)
      : plan_(plan), read_query_(plan.problem.queries), read_candidate_(plan.problem.candidates) {}

  double query_norm(std::int64_t i) {
    const auto* x = read_query_(i);
    return std::sqrt(plan_.definition.dot(x, x));
  }

  double key(std::int64_t query, double norm, std::int64_t candidate) {
    return plan_.definition.key(read_query_(query), norm, read_candidate_(candidate),
                                plan_.candidate_norms[candidate]);
  }

  bool allowed(std::int64_t query, std::int64_t candidate) const {
    return !(plan_.problem.exclude_self && query == candidate);
  }

 private:
  const Plan<Storage>& plan_;
  RowReader<Storage> read_query_;
  RowReader<Storage> read_candidate_;
};

}  // namespace fastface
