#include "group_panels.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

namespace fastface {

void round_row(const KernelTable& kernels, const float* values, std::int64_t padded_dim,
               std::int8_t* rounded, std::uint8_t* out, RowRecord& record) {
  const Int8Row row = kernels.round_to_int8(values, padded_dim, rounded);
  for (std::int64_t j = 0; j < padded_dim; ++j)
    out[j] = static_cast<std::uint8_t>(rounded[j] ^ -128);
  record.scale = row.scale;
  record.residual = row.residual;
}

struct GroupPanels::Scratch {
  explicit Scratch(const GroupPanels& panels)
      : read(panels.screen_->candidates()),
        rows(static_cast<std::size_t>(panels.width_ * panels.padded_dim_)),
        rounded(static_cast<std::size_t>(panels.padded_dim_ + 16)) {}
  RowReader read;
  std::vector<float> rows;
  std::vector<std::int8_t> rounded;
};

GroupPanels::GroupPanels(const Screen& screen, Precision precision, int n_threads,
                         Interrupt& interrupt, const std::vector<double>* biases)
    : screen_(&screen),
      precision_(precision),
      width_(screen.kernels().group_width),
      padded_dim_(round_up(screen.candidates().dim, kGroupDimStep)),
      n_groups_((screen.candidates().rows + width_ - 1) / width_) {
  const std::int64_t places = n_groups_ * width_;
  if (precision == Precision::kFloat32)
    values_ = Aligned<float>(places * padded_dim_);
  else
    integers_ = Aligned<std::int8_t>(places * padded_dim_);
  scales_.resize(static_cast<std::size_t>(places));
  starts_.resize(static_cast<std::size_t>(places));
  biases_.resize(static_cast<std::size_t>(places));
  half_squares_.resize(static_cast<std::size_t>(places));
  bounds_.resize(static_cast<std::size_t>(n_groups_));
  const bool small = places * padded_dim_ < (1 << 18);
  parallel_for(n_groups_, small ? 1 : n_threads, interrupt, [&]() -> Worker {
    return [this, biases, scratch = std::make_shared<Scratch>(*this)](std::int64_t group) {
      pack(group, biases, *scratch);
    };
  });
}

void GroupPanels::pack(std::int64_t group, const std::vector<double>* biases, Scratch& scratch) {
  double largest = 0.0;
  for (int lane = 0; lane < width_; ++lane) {
    const std::int64_t center = group * width_ + lane;
    const auto at = static_cast<std::size_t>(center);
    float* row = scratch.rows.data() + lane * padded_dim_;
    std::fill(row, row + padded_dim_, 0.0f);
    if (center >= screen_->candidates().rows) {  // a padding lane is nobody's nearest
      biases_[at] = kInfinity;
      continue;
    }
    const double squares = screen_->load_candidate(center, scratch.read(center), row);
    largest = std::max(largest, squares);
    half_squares_[at] = screen_->is_euclidean() ? 0.5 * squares : 0.0;
    biases_[at] = static_cast<float>(biases == nullptr ? half_squares_[at] : (*biases)[at]);
  }
  double residual = 0.0;
  if (precision_ == Precision::kInt8) {
    residual = pack_integers(group, scratch);
  } else {
    float* packed = values_.get() + group * padded_dim_ * width_;
    for (std::int64_t j = 0; j < padded_dim_; ++j)
      for (int lane = 0; lane < width_; ++lane)
        packed[j * width_ + lane] = scratch.rows[static_cast<std::size_t>(lane * padded_dim_ + j)];
  }
  ErrorBound& bound = bounds_[static_cast<std::size_t>(group)];
  bound = ErrorBound(*screen_, std::sqrt(largest), residual);
  bound.slope *= static_cast<float>(kSafety);  // for norms of rows that have none of their own
}

// Returns the largest norm of what rounding lost.
double GroupPanels::pack_integers(std::int64_t group, Scratch& scratch) {
  std::int8_t* packed = integers_.get() + group * padded_dim_ * width_;
  float residual = 0.0f;
  for (int lane = 0; lane < width_; ++lane) {
    const auto at = static_cast<std::size_t>(group * width_ + lane);
    const Int8Row rounded = screen_->kernels().round_to_int8(
        scratch.rows.data() + lane * padded_dim_, padded_dim_, scratch.rounded.data());
    residual = std::max(residual, rounded.residual);
    scales_[at] = rounded.scale;
    starts_[at] = -rounded.offset;
    for (std::int64_t j = 0; j < padded_dim_; ++j)
      packed[(j / 4 * width_ + lane) * 4 + j % 4] = scratch.rounded[static_cast<std::size_t>(j)];
  }
  return residual;
}

void GroupPanels::show(std::int64_t group, GroupTile& tile) const {
  const ErrorBound& bound = bounds_[static_cast<std::size_t>(group)];
  tile.dim = padded_dim_;
  tile.biases = biases_.data() + group * width_;
  tile.slope = bound.slope;
  tile.offset = bound.offset;
  tile.reach = precision_ == Precision::kInt8 ? bound.reach : 0.0f;
  if (precision_ == Precision::kInt8) {
    tile.int8_panel = integers_.get() + group * padded_dim_ * width_;
    tile.column_scales = scales_.data() + group * width_;
    tile.starts = starts_.data() + group * width_;
  } else {
    tile.panel = values_.get() + group * padded_dim_ * width_;
  }
}

}  // namespace fastface
