#include "sweep.hpp"

namespace fastface {
namespace {

constexpr std::int64_t kDefaultLimit = std::int64_t{64} << 20;  // bytes a thread
constexpr std::int64_t kCachedRows = std::int64_t{512} << 10;   // bytes of a block's rows
constexpr std::int64_t kCachedSink = std::int64_t{2} << 20;     // bytes of a block's survivors
constexpr std::int64_t kPackedRun = std::int64_t{1} << 20;      // bytes that a thread packs at once
constexpr std::int64_t kWorthThread = std::int64_t{1} << 22;    // products
constexpr std::int64_t kRowExtra = 96;  // bytes of a row beside its values and its survivors
// Rounding the operands to integers has to pay for itself.
constexpr std::int64_t kWorthInt8Queries = 64;
constexpr std::int64_t kWorthInt8Candidates = 128;
constexpr std::int64_t kLargestInt8Dim = std::int64_t{1} << 15;

// An odd number of cache lines, so that the rows of a tile do not compete for cache sets.
std::int64_t row_stride(std::int64_t padded_dim, Precision precision) {
  const std::int64_t line = precision == Precision::kFloat32 ? 16 : 64;
  const std::int64_t stride = round_up(padded_dim, line);
  return stride / line % 2 == 0 ? stride + line : stride;
}

std::int64_t value_bytes(Precision precision) { return precision == Precision::kFloat32 ? 4 : 1; }

}  // namespace

Plan::Plan(const SearchProblem& problem, const Screen& screen, std::int64_t sink_bytes_per_row)
    : n_queries(problem.queries.rows) {
  const std::int64_t m = screen.candidates().rows;
  const std::int64_t dim = screen.padded_dim();
  const double work =
      static_cast<double>(n_queries) * static_cast<double>(m) * static_cast<double>(dim);
  n_threads =
      static_cast<int>(std::min(static_cast<double>(problem.n_threads), 1.0 + work / kWorthThread));
  const bool integers = screen.kernels().round_to_int8 != nullptr && screen.rounds_well() &&
                        n_queries >= kWorthInt8Queries && m >= kWorthInt8Candidates &&
                        dim <= kLargestInt8Dim;
  precision = integers ? Precision::kInt8 : Precision::kFloat32;

  const std::int64_t limit =
      problem.memory_limit > 0 ? problem.memory_limit : kDefaultLimit * n_threads;
  const std::int64_t packed = screen.n_panels() * Panels::bytes(screen, precision);
  shared_panels = problem.prepared != nullptr || packed <= limit / 4 * 3;
  const std::int64_t left =
      (limit - (problem.prepared == nullptr && shared_panels ? packed : 0)) / n_threads;

  // Rows that integers cannot tell apart are swept again in float32, panels packed on the way.
  const std::int64_t panel = Panels::bytes(screen, Precision::kFloat32);
  const std::int64_t packing = screen.kernels().panel_width * dim * 4;  // scratch of a Packer
  const std::int64_t row =
      row_stride(dim, precision) * value_bytes(precision) + kRowExtra + sink_bytes_per_row;
  const std::int64_t tile = screen.kernels().tile_rows;
  const std::int64_t least = 2 * panel + packing + tile * row;
  if (left < least) throw TooLittleMemory{problem.memory_limit + (least - left) * n_threads};
  run_panels =
      std::clamp<std::int64_t>(std::min(kPackedRun, left / 4) / panel, 1, screen.n_panels());

  const std::int64_t cached = shared_panels ? kCachedRows : 2 * kCachedRows;
  const std::int64_t fit = (left - packing - run_panels * panel * 2) / row;
  const std::int64_t share = n_queries / (32 * n_threads) + 1;  // so that threads end together
  block_rows = std::min({cached / (row_stride(dim, precision) * value_bytes(precision)),
                         kCachedSink / (sink_bytes_per_row + 1), std::max(share, 10 * tile)});
  block_rows = std::clamp<std::int64_t>(std::min(block_rows, fit), tile, 8192) / tile * tile;
}

SharedPanels::SharedPanels(const SearchProblem& problem, const Screen& screen, const Plan& plan,
                           Interrupt& interrupt)
    : prepared_(problem.prepared) {
  if (prepared_ == nullptr && plan.shared_panels)
    packed_.emplace(Panels::all(screen, plan.precision, plan.n_threads, interrupt));
}

const Panels* SharedPanels::of(Precision precision) const {
  if (prepared_ != nullptr)
    return precision == Precision::kInt8 ? prepared_->integers.get() : &prepared_->floats;
  return packed_ && packed_->precision() == precision ? &*packed_ : nullptr;
}

Block::Block(const Screen& screen, Precision precision, std::int64_t capacity)
    : screen_(screen),
      precision_(precision),
      row_stride_(row_stride(screen.padded_dim(), precision)) {
  const std::int64_t rows = round_up(capacity, screen.kernels().tile_rows);
  if (precision == Precision::kFloat32) {
    values_ = Aligned<float>(rows * row_stride_);
  } else {
    integers_ = Aligned<std::int8_t>(rows * row_stride_);
    scratch_.resize(static_cast<std::size_t>(screen.padded_dim()));
    residuals_.resize(static_cast<std::size_t>(rows));
    scales_.resize(static_cast<std::size_t>(rows));
    offsets_.resize(static_cast<std::size_t>(rows));
  }
  loaded_.resize(static_cast<std::size_t>(rows));
  norms_.resize(static_cast<std::size_t>(rows));
  slacks_.resize(static_cast<std::size_t>(rows));
}

bool Block::load(const Matrix& queries, RowReader& read, const std::vector<std::int64_t>& numbers) {
  constexpr std::int64_t kAhead = 4;
  count_ = static_cast<std::int64_t>(numbers.size());
  const bool integers = precision_ == Precision::kInt8;
  float kept = 0.0f;
  float lost = 0.0f;
  for (std::int64_t row = 0; row < count_; ++row) {
    const auto at = static_cast<std::size_t>(row);
    if (row + kAhead < count_) read.prefetch(numbers[at + kAhead]);
    float* values = integers ? scratch_.data() : values_.get() + row * row_stride_;
    loaded_[at] = screen_.load(queries.storage, read(numbers[at]), values);
    norms_[at] = loaded_[at].norm;
    slacks_[at] = loaded_[at].slack;
    if (!integers) continue;
    const Int8Row rounded = screen_.kernels().round_to_int8(values, screen_.padded_dim(),
                                                            integers_.get() + row * row_stride_);
    residuals_[at] = rounded.residual;
    scales_[at] = rounded.scale;
    offsets_[at] = rounded.offset;
    kept += loaded_[at].norm;
    lost += rounded.residual;
  }
  const std::int64_t rows = round_up(count_, screen_.kernels().tile_rows);
  for (std::int64_t row = count_; row < rows; ++row) {
    const auto at = static_cast<std::size_t>(row);
    norms_[at] = slacks_[at] = 0.0f;
    if (integers) {
      std::fill_n(integers_.get() + row * row_stride_, row_stride_, std::int8_t{0});
      residuals_[at] = scales_[at] = 0.0f;
      offsets_[at] = 0;
    } else {
      std::fill_n(values_.get() + row * row_stride_, row_stride_, 0.0f);
    }
  }
  return !integers || lost <= kRoundsWell * kept;
}

void Block::show(std::int64_t row, Int8Tile& tile) const {
  tile.norms = norms_.data() + row;
  tile.slacks = slacks_.data() + row;
  tile.row_stride = row_stride_;
  if (precision_ == Precision::kFloat32) {
    tile.rows = values_.get() + row * row_stride_;
  } else {
    tile.int8_rows = integers_.get() + row * row_stride_;
    tile.residuals = residuals_.data() + row;
    tile.row_scales = scales_.data() + row;
    tile.row_offsets = offsets_.data() + row;
  }
}

PanelRun::PanelRun(const Screen& screen, const Panels* shared, Precision precision,
                   std::int64_t run_panels)
    : screen_(screen), shared_(shared), run_panels_(run_panels) {
  if (shared_ != nullptr) return;
  own_.emplace(screen, precision, run_panels);
  packer_.emplace(screen);
}

void PanelRun::show(std::int64_t panel, Int8Tile& tile) {
  if (shared_ != nullptr) {
    shared_->show(panel, tile);
    return;
  }
  if (panel < first_ || panel >= first_ + packed_) {
    first_ = panel;
    packed_ = std::min(run_panels_, n_panels() - first_);
    for (std::int64_t slot = 0; slot < packed_; ++slot) own_->pack(slot, first_ + slot, *packer_);
  }
  own_->show(panel - first_, tile);
}

}  // namespace fastface
