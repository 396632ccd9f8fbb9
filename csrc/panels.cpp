#include "panels.hpp"

#include <algorithm>
#include <cmath>

namespace fastface {
namespace {

constexpr double kUnit = 0x1p-24;  // rounding unit of float32

}  // namespace

ErrorBound::ErrorBound(const Screen& screen, double largest, double residual) {
  const double norm = kSafety * largest + kUnderflow;
  const double steps = (static_cast<double>(screen.candidates().dim) + 12.0) * kUnit;
  const double arithmetic = steps < 0.5 ? kSafety * steps / (1.0 - steps) * norm : kInfiniteDouble;
  const double euclidean = screen.is_euclidean() ? kSafety * 8.0 * kUnit * norm * norm : 0.0;
  slope = static_cast<float>(kSafety * (arithmetic + residual) + kUnderflow);
  offset = static_cast<float>(euclidean + kUnderflow * (1.0 + norm));
  reach = static_cast<float>(kSafety * (norm + residual));
}

Packer::Packer(const Screen& screen)
    : read_(screen.candidates()),
      rows_(screen.kernels().panel_width * screen.padded_dim()),
      rounded_(static_cast<std::size_t>(screen.padded_dim() + 16)) {}

Panels::Panels(const Screen& screen, Precision precision, std::int64_t capacity)
    : screen_(&screen),
      precision_(precision),
      width_(screen.kernels().panel_width),
      padded_dim_(screen.padded_dim()),
      biases_(static_cast<std::size_t>(capacity * width_)),
      bounds_(static_cast<std::size_t>(capacity)) {
  if (precision == Precision::kFloat32) {
    values_ = Aligned<float>(capacity * padded_dim_ * width_);
  } else {
    integers_ = Aligned<std::uint8_t>(capacity * padded_dim_ * width_);
    scales_.resize(static_cast<std::size_t>(capacity * width_));
  }
}

Panels Panels::all(const Screen& screen, Precision precision, int n_threads, Interrupt& interrupt) {
  Panels panels(screen, precision, screen.n_panels());
  const bool small = screen.candidates().rows * screen.padded_dim() < (1 << 20);
  parallel_for(screen.n_panels(), small ? 1 : n_threads, interrupt, [&] {
    return [&panels, packer = std::make_shared<Packer>(screen)](std::int64_t panel) {
      panels.pack(panel, panel, *packer);
    };
  });
  return panels;
}

std::int64_t Panels::bytes(const Screen& screen, Precision precision) {
  const std::int64_t value = precision == Precision::kFloat32 ? 4 : 1;
  return screen.kernels().panel_width * (screen.padded_dim() * value + 8) +
         static_cast<std::int64_t>(sizeof(ErrorBound));
}

void Panels::pack(std::int64_t slot, std::int64_t panel, Packer& packer) {
  double largest = 0.0;
  float* biases = biases_.data() + slot * width_;
  for (int lane = 0; lane < width_; ++lane) {
    const std::int64_t i = panel * width_ + lane;
    float* row = packer.rows_.get() + lane * padded_dim_;
    if (i >= screen_->candidates().rows) {  // a padding lane is nobody's nearest
      std::fill(row, row + padded_dim_, 0.0f);
      biases[lane] = kInfinity;
      continue;
    }
    const double squares = screen_->load_candidate(i, packer.read_(i), row);
    largest = std::max(largest, squares);
    biases[lane] = screen_->is_euclidean() ? static_cast<float>(0.5 * squares) : 0.0f;
  }
  double largest_residual = 0.0;
  if (precision_ == Precision::kFloat32)
    pack_values(slot, packer);
  else
    pack_integers(slot, packer, largest_residual);

  bounds_[static_cast<std::size_t>(slot)] =
      ErrorBound(*screen_, std::sqrt(largest), largest_residual);
}

void Panels::pack_values(std::int64_t slot, Packer& packer) {
  float* packed = values_.get() + slot * padded_dim_ * width_;
  const float* rows = packer.rows_.get();
  for (std::int64_t j = 0; j < padded_dim_; ++j)
    for (int lane = 0; lane < width_; ++lane)
      packed[j * width_ + lane] = rows[lane * padded_dim_ + j];
}

void Panels::pack_integers(std::int64_t slot, Packer& packer, double& largest_residual) {
  std::uint8_t* packed = integers_.get() + slot * padded_dim_ * width_;
  for (int lane = 0; lane < width_; ++lane) {
    const Int8Row rounded = screen_->kernels().round_to_int8(
        packer.rows_.get() + lane * padded_dim_, padded_dim_, packer.rounded_.data());
    scales_[static_cast<std::size_t>(slot * width_ + lane)] = rounded.scale;
    largest_residual = std::max(largest_residual, static_cast<double>(rounded.residual));
    for (std::int64_t j = 0; j < padded_dim_; ++j)
      packed[(j / 4 * width_ + lane) * 4 + j % 4] =
          static_cast<std::uint8_t>(packer.rounded_[static_cast<std::size_t>(j)] + 128);
  }
}

void Panels::show(std::int64_t slot, Int8Tile& tile) const {
  const ErrorBound& bounds = bounds_[static_cast<std::size_t>(slot)];
  tile.biases = biases_.data() + slot * width_;
  tile.slope = bounds.slope;
  tile.offset = bounds.offset;
  if (precision_ == Precision::kFloat32) {
    tile.panel = values_.get() + slot * padded_dim_ * width_;
    tile.reach = 0.0f;
  } else {
    tile.int8_panel = integers_.get() + slot * padded_dim_ * width_;
    tile.column_scales = scales_.data() + slot * width_;
    tile.reach = bounds.reach;
  }
}

}  // namespace fastface
