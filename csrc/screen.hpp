// The screen: candidates brought to the form that tiles score, and the bound on every score's
// error.
//
// Operands are shifted and scaled first, which changes neither who is nearest nor the sense of any
// bound: a = (x - shift) * t, b = (y - shift) * t.  The score of a pair is
//   <a, b> - |b|^2 / 2        Euclidean metrics: shift near the candidates' mean, one t for all
//   <a, b / |b|>              cosine: no shift, t by row
//   <a, b>                    inner product: no shift, t by row and one for the candidates
// and the nearer a candidate, the higher its score.
#pragma once

#include <cmath>
#include <vector>

#include "matrix.hpp"
#include "parallel.hpp"

namespace fastface {

enum class Precision { kFloat32, kInt8 };

// More than all that underflow can take from a score whose operands are near one in norm, or from
// a norm, for any dimension that fits into memory.
constexpr double kUnderflow = 1e-30;
constexpr double kSafety = 1.01;  // absorbs second-order terms and the rounding of bounds
// Rounding a row of normal variates to 8 bits loses 0.008 of its norm; beyond this share, too many
// candidates pass the screen to pay for the speed of integers.
constexpr double kRoundsWell = 0.02;

// At least `value`, by more than rounding takes.
inline float round_up_to_float(double value) {
  return static_cast<float>(value + std::abs(value) * 0x1p-21 + kUnderflow);
}

// A query row as the tiles read it.
struct LoadedRow {
  float norm;       // at least that of the row as scaled
  float slack;      // how far its bar has to stand below a proven score
  bool blind;       // float32 could overflow: only the definition can tell
  double scale;     // t
  double squares;   // of the row as shifted and scaled
  double own_norm;  // of the row itself, that the definition divides by; only for cosine
};

// Where operands are shifted to, and how they are scaled.
struct Frame {
  std::vector<double> shift;
  double scale;  // t of the candidates; not for cosine
};

class Screen {
 public:
  // In a frame of its own, or in a given one.
  Screen(const KernelTable& kernels, Metric metric, const Matrix& candidates, int n_threads,
         Interrupt& interrupt, const Frame* frame = nullptr);

  const KernelTable& kernels() const { return kernels_; }
  Metric metric() const { return metric_; }
  const Matrix& candidates() const { return candidates_; }
  std::int64_t n_panels() const { return n_panels_; }
  std::int64_t padded_dim() const { return padded_dim_; }
  bool is_euclidean() const {
    return metric_ == Metric::kSquaredEuclidean || metric_ == Metric::kEuclidean;
  }

  // The norm of a candidate that the definition divides by; only for cosine.
  double candidate_norm(std::int64_t i) const {
    return norms_.empty() ? 0.0 : norms_[static_cast<std::size_t>(i)];
  }

  // t of the candidates; not for cosine.
  double scale() const { return scale_; }

  Frame frame() const { return {shift_, scale_}; }

  // Whether the candidates, as shifted and scaled, are near enough to one in norm for float32.
  bool fits_frame() const {
    return is_cosine() || (largest_norm_ < kFarFromOne && (largest_norm_ > 1.0 / kFarFromOne));
  }

  // Whether 8-bit integers keep enough of the candidates to tell them apart.
  bool rounds_well() const { return rounds_well_; }

  // Writes a row, shifted and scaled, to `out`; refuses what the kernels cannot work with.
  LoadedRow load(Storage storage, const void* row, float* out) const;

  // The same for candidate i, returning the sum of squares.
  double load_candidate(std::int64_t i, const void* row, float* out) const;

  // The true score of a candidate at a distance (squared, for the Euclidean metrics).
  double score_at(double key, const LoadedRow& loaded) const;

  // A bar that every candidate whose definition gives at most `key` reaches.
  float bar_at(double key, const LoadedRow& loaded) const;

 private:
  static constexpr double kFarFromOne = 0x1p16;

  bool is_cosine() const { return metric_ == Metric::kCosine; }
  void choose_shift();
  void take_frame(const Frame& frame);
  void measure(int n_threads, Interrupt& interrupt, const Frame* frame);
  void try_rounding();

  const KernelTable& kernels_;
  Metric metric_;
  Matrix candidates_;
  std::int64_t dim_;
  std::int64_t padded_dim_;
  std::int64_t n_panels_;
  bool rounds_well_ = false;
  double scale_ = 1.0;       // t of the candidates; not for cosine
  double largest_norm_ = 0;  // of the candidates as shifted and scaled; not for cosine
  double largest_safe_ = 0;  // squares below it need no second look
  double shift_norm_ = 0.0;
  std::vector<double> shift_;
  std::vector<double> norms_;
};

}  // namespace fastface
