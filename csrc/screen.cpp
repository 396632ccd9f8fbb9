#include "screen.hpp"

#include <algorithm>
#include <cfloat>
#include <cmath>

namespace fastface {
namespace {

constexpr std::int64_t kSampledRows = 256;
constexpr double kUnitWide = 0x1p-53;  // rounding unit of float64
constexpr double kBlindNorm = 1e15;    // beyond it a row's scores could overflow

// The power of two that brings `norm` near one.
double scale_for(double norm) {
  if (norm == 0.0) return 1.0;
  return std::ldexp(1.0, std::clamp(-std::ilogb(norm), -400, 400));
}

}  // namespace

Screen::Screen(const KernelTable& kernels, Metric metric, const Matrix& candidates, int n_threads,
               Interrupt& interrupt, const Frame* frame)
    : kernels_(kernels),
      metric_(metric),
      candidates_(candidates),
      dim_(candidates.dim),
      padded_dim_(round_up(candidates.dim, kDimStep)),
      n_panels_((candidates.rows + kernels.panel_width - 1) / kernels.panel_width),
      shift_(static_cast<std::size_t>(candidates.dim), 0.0) {
  if (frame != nullptr)
    take_frame(*frame);
  else if (is_euclidean())
    choose_shift();
  measure(n_threads, interrupt, frame);
  if (kernels_.round_to_int8 != nullptr) try_rounding();
}

// Near the mean of the candidates; any other value would be right too.
void Screen::choose_shift() {
  RowReader read(candidates_);
  const std::int64_t step = std::max<std::int64_t>(1, candidates_.rows / kSampledRows);
  std::vector<double> sums(shift_);
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < candidates_.rows; i += step, ++count) {
    const void* row = read(i);
    for (std::int64_t j = 0; j < dim_; ++j) sums[j] += value_at(row, candidates_.storage, j);
  }
  double squares = 0.0;
  for (const double sum : sums) squares += sum * sum;
  if (!(squares < kLargestNorm * kLargestNorm)) return;  // bad rows are refused later, by name
  for (std::int64_t j = 0; j < dim_; ++j) shift_[j] = sums[j] / static_cast<double>(count);
  shift_norm_ = std::sqrt(squares) / static_cast<double>(count);
}

void Screen::take_frame(const Frame& frame) {
  shift_ = frame.shift;
  double squares = 0.0;
  for (const double value : shift_) squares += value * value;
  shift_norm_ = std::sqrt(squares);
}

// Refuses bad candidates, keeps the norms that the cosine metric divides by, and finds the scale.
void Screen::measure(int n_threads, Interrupt& interrupt, const Frame* frame) {
  constexpr std::int64_t kRows = 256;
  const std::int64_t n_blocks = (candidates_.rows + kRows - 1) / kRows;
  std::vector<double> largest(static_cast<std::size_t>(n_blocks), 0.0);
  if (metric_ == Metric::kCosine) norms_.resize(static_cast<std::size_t>(candidates_.rows));
  const int useful = candidates_.rows * dim_ < (1 << 20) ? 1 : n_threads;
  parallel_for(n_blocks, useful, interrupt, [&] {
    std::vector<float> scratch(static_cast<std::size_t>(padded_dim_));
    return [this, &largest, scratch = std::move(scratch),
            read = RowReader(candidates_)](std::int64_t b) mutable {
      const std::int64_t last = std::min(candidates_.rows, (b + 1) * kRows);
      for (std::int64_t i = b * kRows; i < last; ++i) {
        const void* row = read(i);
        double squares;
        if (is_euclidean()) {
          squares = kernels_.load_row[candidates_.storage](row, shift_.data(), 1.0, dim_,
                                                           padded_dim_, scratch.data());
          if (!(std::sqrt(squares) + shift_norm_ < kLargestNorm))
            checked_squared_norm(kernels_, candidates_.storage, row, dim_, true);
        } else {
          squares = checked_squared_norm(kernels_, candidates_.storage, row, dim_, true);
          if (metric_ == Metric::kCosine)
            norms_[static_cast<std::size_t>(i)] = cosine_norm(squares);
        }
        double& most = largest[static_cast<std::size_t>(b)];
        most = std::max(most, squares);
      }
    };
  });
  if (!is_cosine()) {
    const double norm = std::sqrt(*std::max_element(largest.begin(), largest.end()));
    scale_ = frame != nullptr ? frame->scale : scale_for(norm);
    largest_norm_ = norm * scale_;
  }
  const double safe = std::min(kBlindNorm, (kLargestNorm - shift_norm_) * 0.5 * scale_);
  largest_safe_ = safe * safe;
}

void Screen::try_rounding() {
  constexpr std::int64_t kFewRows = 32;
  RowReader read(candidates_);
  std::vector<float> row(static_cast<std::size_t>(padded_dim_));
  std::vector<std::int8_t> rounded(static_cast<std::size_t>(padded_dim_ + 16));
  const std::int64_t step = std::max<std::int64_t>(1, candidates_.rows / kFewRows);
  double lost = 0.0;
  double kept = 0.0;
  for (std::int64_t i = 0; i < candidates_.rows; i += step) {
    kept += std::sqrt(load_candidate(i, read(i), row.data()));
    lost += kernels_.round_to_int8(row.data(), padded_dim_, rounded.data()).residual;
  }
  rounds_well_ = lost <= kRoundsWell * kept;
}

double Screen::load_candidate(std::int64_t i, const void* row, float* out) const {
  double scale = scale_;
  if (metric_ == Metric::kCosine) {
    const double norm = candidate_norm(i);
    scale = norm > 0.0 ? 1.0 / norm : 0.0;
  }
  return kernels_.load_row[candidates_.storage](row, shift_.data(), scale, dim_, padded_dim_, out);
}

LoadedRow Screen::load(Storage storage, const void* row, float* out) const {
  LoadedRow loaded{0.0f, 0.0f, false, scale_, 0.0, 0.0};
  if (!is_euclidean()) {
    const double squared = checked_squared_norm(kernels_, storage, row, dim_, false);
    loaded.scale = scale_for(std::sqrt(squared));
    if (metric_ == Metric::kCosine) {
      loaded.own_norm = cosine_norm(squared);
      if (loaded.own_norm == 0.0) loaded.scale = 0.0;  // as far from everybody
    }
  }
  loaded.squares =
      kernels_.load_row[storage](row, shift_.data(), loaded.scale, dim_, padded_dim_, out);
  if (is_euclidean() && !(loaded.squares <= largest_safe_)) {
    // Far away, or no number: the definition tells which.
    checked_squared_norm(kernels_, storage, row, dim_, false);
    if (!(loaded.squares <= kBlindNorm * kBlindNorm)) {
      std::fill(out, out + padded_dim_, 0.0f);
      loaded.blind = true;
      return loaded;
    }
  }
  loaded.norm = static_cast<float>(kSafety * std::sqrt(loaded.squares) + kUnderflow);
  const double definition = (static_cast<double>(dim_) + 8.0) * 2.0 * kUnitWide;
  loaded.slack = static_cast<float>(2.0 * kSafety * definition * loaded.squares + kUnderflow);
  return loaded;
}

double Screen::score_at(double key, const LoadedRow& loaded) const {
  const double t = loaded.scale;
  if (metric_ == Metric::kInnerProduct) return -key * t * scale_;
  if (metric_ == Metric::kCosine)
    return key >= 2.0 ? -kInfiniteDouble : (1.0 - key) * loaded.own_norm * t;
  return 0.5 * (loaded.squares - key * t * t);
}

float Screen::bar_at(double key, const LoadedRow& loaded) const {
  const double score = score_at(key, loaded);
  const double bar = score - loaded.slack - kBarSlack * std::abs(score);
  // Above the range of float32 there is nothing; below it, everything.
  if (!(bar > -FLT_MAX)) return -kInfinity;
  return bar < FLT_MAX ? static_cast<float>(bar) : FLT_MAX;
}

}  // namespace fastface
