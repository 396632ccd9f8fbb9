// What greedy k-means++ asks about the rows: who is how far from the nearest center so far, and
// what a few more centers would win.
//
// The rows stand still and the candidates change, so the rows are what is packed into panels, once.
// A tile then scores candidates against rows, low precision rules out the rows that a candidate
// cannot come nearer to than their nearest center, and the definition decides the others.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "panels.hpp"

namespace fastface {

class Seeder {
 public:
  // `weights` may be null.  Rows and weights have to outlive this.
  Seeder(const Matrix& rows, const double* weights, Metric metric, int n_threads);

  // Takes the first center; returns the largest weighted distance to it.
  double begin(const Matrix& center, Interrupt& interrupt);

  // Counts in multiples of 1 / scale from now on; returns the potential, the sum over rows of
  // their rounded weighted distance.
  std::int64_t set_scale(double scale);

  // The first row at which the running sum of the potential exceeds `target`.
  std::int64_t locate(std::int64_t target) const;

  // The potential after adding one candidate, for each of them.
  std::vector<std::int64_t> evaluate(const Matrix& candidates, Interrupt& interrupt);

  // Adds a candidate of the last `evaluate`.
  void accept(std::size_t which);

  const std::vector<double>& nearest() const { return nearest_; }

 private:
  struct Improved {
    std::int64_t row;
    double distance;
  };
  // What a thread found out about every candidate.
  struct Findings {
    std::vector<std::vector<Improved>> improved;
    std::vector<std::int64_t> gains;
  };
  class Evaluator;

  std::int64_t share(std::int64_t row, double distance) const;
  void pack(Interrupt& interrupt);
  void update_bias(std::int64_t row);
  double center_norm(const void* center, Storage storage) const;

  const KernelTable& kernels_;
  Matrix rows_;
  const double* weights_;
  Metric metric_;
  int n_threads_;
  double scale_ = 1.0;
  std::int64_t potential_ = 0;
  std::vector<double> nearest_;
  std::vector<double> norms_;             // cosine only
  std::vector<std::int64_t> block_sums_;  // of the potential
  std::vector<Findings> findings_;

  // The screen.  For cosine it stands over unit rows, whose squared distance is twice theirs.
  std::vector<float> unit_rows_;
  std::optional<Screen> screen_;
  std::optional<Panels> panels_;
  std::vector<double> squares_;  // of the rows as the screen sees them
  std::vector<float> biases_;
  double margin_ = 0.0;
};

}  // namespace fastface
