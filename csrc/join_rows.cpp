#include "join_rows.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "cpu/dispatch.hpp"

namespace fastface {
namespace {

// A bound may be 16 times as large, or as small, as what its integer says at the head's own scale:
// with at most 240 directions both kinds then fit 8 bits.
constexpr double kStretch = 16.0;
constexpr double kUp = 1.0 + 1e-6;  // absorbs the float64 roundings of bounds
constexpr double kTailDoubt = 1e-7;

double norm_of(const double* values, std::int64_t n) {
  double sum = 0.0;
  for (std::int64_t j = 0; j < n; ++j) sum += values[j] * values[j];
  return std::sqrt(sum);
}

// Rounds values to integers at a scale; returns the norm of what that loses.
double round_all(const double* values, std::int64_t n, double scale, std::int8_t* out) {
  const double inverse = scale > 0.0 ? 1.0 / scale : 0.0;
  double lost = 0.0;
  for (std::int64_t j = 0; j < n; ++j) {
    const double integer = std::nearbyint(values[j] * inverse);
    out[j] = static_cast<std::int8_t>(integer);
    const double residual = values[j] - integer * scale;
    lost += residual * residual;
  }
  return std::sqrt(lost);
}

double peak_of(const double* values, std::int64_t n) {
  double peak = 0.0;
  for (std::int64_t j = 0; j < n; ++j) peak = std::max(peak, std::abs(values[j]));
  return peak;
}

float rounded_up(double value) { return static_cast<float>(value * kUp + kUnderflow); }

}  // namespace

struct JoinRows::Scratch {
  explicit Scratch(const JoinRows& rows)
      : read(rows.x_),
        values(static_cast<std::size_t>(rows.x_.dim)),
        head(static_cast<std::size_t>(rows.n_directions_)),
        sums(static_cast<std::size_t>(rows.x_.dim)) {}
  RowReader read;
  std::vector<double> values, head, sums;
};

JoinRows::JoinRows(const Matrix& x, const std::int32_t* order, const double* shift,
                   const double* rotation, std::int64_t n_directions, int n_threads,
                   Interrupt& interrupt)
    : x_(x),
      kernels_(active_kernels()),
      order_(order),
      shift_(shift),
      rotation_(rotation),
      n_directions_(n_directions),
      width_(kernels_.panel_width),
      head_(round_up(n_directions, kDimStep) + kBounds),
      stride_(round_up(x.dim, kCodeStep)),
      integers_(kernels_.score_tile_int8 != nullptr) {
  measure(n_threads, interrupt);
  if (interrupt.stopped()) return;
  const std::int64_t padded = round_up(x.rows, width_);
  if (integers_) {
    int8_heads_ = Aligned<std::uint8_t>(padded * head_);
    std::fill_n(int8_heads_.get(), padded * head_, std::uint8_t{128});
  } else {
    float_heads_ = Aligned<float>(padded * head_);
    std::fill_n(float_heads_.get(), padded * head_, 0.0f);
  }
  biases_.assign(static_cast<std::size_t>(padded), kInfinity);  // padding is nobody's nearest
  head_scales_.assign(static_cast<std::size_t>(padded), 0.0f);
  zeros_.assign(static_cast<std::size_t>(kMaxTileRows), 0.0f);
  codes_ = Aligned<std::int8_t>(x.rows * stride_);
  const auto n = static_cast<std::size_t>(x.rows);
  code_of_.resize(n);
  halves_.resize(n);
  centers_.resize(static_cast<std::size_t>(n_groups() * x.dim));
  parallel_for(n_groups(), n_threads, interrupt, [&]() -> Worker {
    return [this, scratch = std::make_shared<Scratch>(*this)](std::int64_t group) {
      const std::int64_t last = std::min(rows(), (group + 1) * kGroup);
      std::fill(scratch->sums.begin(), scratch->sums.end(), 0.0);
      for (std::int64_t place = group * kGroup; place < last; ++place) encode(place, *scratch);
      for (std::int64_t j = 0; j < x_.dim; ++j)
        centers_[static_cast<std::size_t>(group * x_.dim + j)] =
            static_cast<float>(scratch->sums[static_cast<std::size_t>(j)] /
                               static_cast<double>(last - group * kGroup));
    };
  });
  for (const Code& about : code_of_) {
    largest_norm_ = std::max<double>(largest_norm_, about.norm);
    largest_residual_ = std::max<double>(largest_residual_, about.residual);
  }
  const double steps = kSafety * (static_cast<double>(head_) + 12.0) * 0x1p-24;
  slope_ = static_cast<float>(2.0 * steps * largest_norm_);
  offset_ = static_cast<float>(2.0 * steps * largest_norm_ * largest_norm_);
}

// Refuses bad values, and finds the power of two that brings the rows near one in norm.
void JoinRows::measure(int n_threads, Interrupt& interrupt) {
  std::vector<double> largest(static_cast<std::size_t>(n_groups()), 0.0);
  parallel_for(n_groups(), n_threads, interrupt, [&]() -> Worker {
    return [&, read = RowReader(x_)](std::int64_t group) mutable {
      double& most = largest[static_cast<std::size_t>(group)];
      for (std::int64_t i = group * kGroup; i < std::min(rows(), (group + 1) * kGroup); ++i) {
        const void* row = read(i);
        checked_squared_norm(kernels_, x_.storage, row, x_.dim, true);
        double squares = 0.0;
        for (std::int64_t j = 0; j < x_.dim; ++j) {
          const double value = value_at(row, x_.storage, j) - shift_[j];
          squares += value * value;
        }
        most = std::max(most, squares);
      }
    };
  });
  const double norm = std::sqrt(*std::max_element(largest.begin(), largest.end()));
  if (norm > 0.0) scale_ = std::ldexp(1.0, -std::ilogb(norm));
}

void JoinRows::encode(std::int64_t place, Scratch& scratch) {
  const void* row = scratch.read(order_[place]);
  double* values = scratch.values.data();
  double squares = 0.0;
  for (std::int64_t j = 0; j < x_.dim; ++j) {
    values[j] = (value_at(row, x_.storage, j) - shift_[j]) * scale_;
    scratch.sums[static_cast<std::size_t>(j)] += values[j];
    squares += values[j] * values[j];
  }
  const auto at = static_cast<std::size_t>(place);
  Code& about = code_of_[at];
  about.norm = rounded_up(std::sqrt(squares));
  about.half_squares = static_cast<float>(0.5 * squares);
  halves_[at] = 0.5 * squares;
  biases_[at] = static_cast<float>(0.5 * squares);

  std::int8_t* code = codes_.get() + place * stride_;
  const double step = peak_of(values, x_.dim) / 127.0;
  // The code is a product of float32 scales, so the scale that is kept is the one that rounds.
  about.scale = step > kUnderflow ? static_cast<float>(step * kUp) : 0.0f;
  about.residual = rounded_up(round_all(values, x_.dim, about.scale, code));
  std::fill(code + x_.dim, code + stride_, std::int8_t{0});

  std::vector<double>& head = scratch.head;
  std::fill(head.begin(), head.end(), 0.0);
  for (std::int64_t i = 0; i < x_.dim; ++i) {
    const double* direction = rotation_ + i * n_directions_;
    for (std::int64_t j = 0; j < n_directions_; ++j)
      head[static_cast<std::size_t>(j)] += values[i] * direction[j];
  }
  const double kept = norm_of(head.data(), n_directions_);
  write_head(place, head, std::sqrt(std::max(0.0, squares - kept * kept) + kTailDoubt * squares));
}

// Writes a head as that of a candidate: directions, tail, loss by rounding, length, nothing.
void JoinRows::write_head(std::int64_t place, const std::vector<double>& head, double tail) {
  const std::int64_t bounds = head_ - kBounds;
  if (!integers_) {
    float* panel = float_heads_.get() + place / width_ * head_ * width_ + place % width_;
    for (std::int64_t j = 0; j < n_directions_; ++j)
      panel[j * width_] = static_cast<float>(head[static_cast<std::size_t>(j)]);
    panel[bounds * width_] = rounded_up(tail);
    return;
  }
  std::int8_t rounded[kMostHead];
  const double peak = std::max(peak_of(head.data(), n_directions_), tail) * kUp;
  const float scale = peak > kUnderflow ? static_cast<float>(peak / 127.0 * kUp) : 0.0f;
  const double lost = round_all(head.data(), n_directions_, scale, rounded);
  const double length = norm_of(head.data(), n_directions_) + lost;
  const double unit = scale > 0.0f ? scale : 1.0;
  const auto up = [](double value) { return static_cast<std::uint8_t>(std::ceil(value * kUp)); };
  std::uint8_t* integers = int8_heads_.get();
  for (std::int64_t j = 0; j < n_directions_; ++j)
    integers[at(place, j)] = static_cast<std::uint8_t>(rounded[j] + 128);
  integers[at(place, bounds)] = static_cast<std::uint8_t>(128 + up(tail / unit));
  integers[at(place, bounds + 1)] = static_cast<std::uint8_t>(128 + up(lost / unit * kStretch));
  integers[at(place, bounds + 2)] = static_cast<std::uint8_t>(128 + up(length / unit / kStretch));
  head_scales_[static_cast<std::size_t>(place)] = scale;
}

void JoinRows::show(std::int64_t panel, Int8Tile& tile) const {
  tile.dim = head_;
  tile.biases = biases_.data() + panel * width_;
  tile.slope = slope_;
  tile.offset = offset_;
  tile.reach = 0.0f;
  tile.residuals = zeros_.data();
  tile.slacks = zeros_.data();
  tile.panel = float_heads_.get() + panel * head_ * width_;
  tile.int8_panel = int8_heads_.get() + panel * head_ * width_;
  tile.column_scales = head_scales_.data() + panel * width_;
}

void JoinRows::copy_heads(std::int64_t group, std::int64_t stride, float* floats,
                          std::int8_t* int8s, float* scales, std::int32_t* offsets) const {
  const std::int64_t first = group * kGroup;
  const std::int64_t count = std::min(kGroup, rows() - first);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t place = first + i;
    if (!integers_) {
      const float* panel = float_heads_.get() + place / width_ * head_ * width_ + place % width_;
      for (std::int64_t j = 0; j < head_; ++j) floats[i * stride + j] = panel[j * width_];
      continue;
    }
    std::int8_t* out = int8s + i * stride;
    std::int32_t sum = 0;
    for (std::int64_t j = 0; j < head_; ++j)
      out[j] = static_cast<std::int8_t>(int8_heads_.get()[at(place, j)] - 128);
    // What one lost meets the length of the other.
    std::swap(out[head_ - kBounds + 1], out[head_ - kBounds + 2]);
    for (std::int64_t j = 0; j < head_; ++j) sum += out[j];
    scales[i] = head_scales_[static_cast<std::size_t>(place)];
    offsets[i] = 128 * sum;
  }
}

}  // namespace fastface
