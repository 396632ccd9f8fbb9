// The nearest center of every row, leaving out centers that a bound from earlier passes rules out.
//
// Centers stand in groups.  For every row and group there is an upper bound on the best score that
// the row has in the group (scores: screen.hpp; the nearer, the higher).  When centers move, the
// bound goes up by what the move can add to the score of a row as near to its own center as this
// one (lifts.hpp; the triangle inequality of Hamerly, "Making k-means even faster", SDM 2010, for
// groups as in Ding et al., "Yinyang k-means", ICML 2015, taken to scalar products).  Groups whose
// bound stays under the bar that the row's own center sets cannot hold a nearer one.  The others
// are scored, in full tiles of whichever rows want them; whoever reaches the bar is decided by the
// definition.  The own center, which always reaches it, is left out of the bound of its group.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "lifts.hpp"
#include "matrix.hpp"
#include "parallel.hpp"

namespace fastface {

constexpr std::int32_t kNobody = -1;

struct PruningStatistics {
  std::int64_t scored_pairs = 0;   // rows times groups, of all there are
  std::int64_t decided_pairs = 0;  // rows and centers that went to the definition
};

// What is kept of the rows from one pass to the next.
struct PrunedRows {
  std::int64_t stride = 0;         // bytes of a row of integers
  std::vector<RowRecord> records;  // bars stand where the last pass left them
  std::vector<LoadedRow> loaded;
  std::vector<char> is_exact;          // whether the bar is the one of the exact distance
  std::vector<float> uppers;           // [rows][groups]
  std::vector<std::int32_t> left_out;  // place of the center that no bound counts, or kNobody
  Aligned<std::uint8_t> integers;      // [rows][stride], if they are kept
};

class Pruner {
 public:
  // Keeps rows as integers from pass to pass if `keep_rows`.
  Pruner(std::int64_t n_rows, std::int64_t n_centers, Metric metric, int n_threads, bool keep_rows);

  // Bytes that it takes for a row, kept rows included.
  static std::int64_t bytes_per_row(std::int64_t dim, std::int64_t n_centers, bool keep_rows);

  // A new pass: centers moved, group by group in the order that `names` gave them.
  void begin(const Matrix& centers, const std::int32_t* names, Interrupt& interrupt);

  // Brings labels that were right for other centers up to date, of some rows of which the first is
  // number `first_row`.  With `anew`, nothing is known of their bounds.
  PruningStatistics assign(const Matrix& rows, std::int64_t first_row, bool anew,
                           std::int32_t* labels, Interrupt& interrupt);

  std::int64_t n_rows() const { return n_rows_; }
  std::int64_t n_centers() const { return n_centers_; }
  std::int64_t n_groups() const;

  // For tests: the bounds, and what makes scores of the rows.
  const PrunedRows& state() const { return rows_; }
  const Screen& screen() const { return *screen_; }

 private:
  CenterMoves find_moves(const Matrix& before, const std::vector<double>& half_squares) const;
  float usual_radius(bool from_centers) const;

  const KernelTable& kernels_;
  std::int64_t n_rows_;
  std::int64_t n_centers_;
  Metric metric_;
  int n_threads_;
  bool keep_rows_;
  bool knows_rows_ = false;       // whether the last pass went over all rows
  std::int64_t passed_rows_ = 0;  // of this pass
  std::vector<char> bytes_;       // of the centers
  Matrix centers_{};
  std::vector<std::int32_t> names_;   // of the centers as labels know them
  std::vector<std::int32_t> places_;  // of every label among the centers
  std::optional<Screen> screen_;
  std::optional<GroupPanels> panels_;
  CenterMoves moves_;
  Lifts lifts_;
  PrunedRows rows_;
};

}  // namespace fastface
