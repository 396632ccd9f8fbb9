#include "pruning.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>

#include "cpu/dispatch.hpp"
#include "pruned_block.hpp"

namespace fastface {
namespace {

constexpr std::int64_t kLargestInt8Dim = std::int64_t{1} << 15;
constexpr double kDefinitionSlack = 1e-9;  // of a float64 distance, many times its error

std::int64_t integer_stride(std::int64_t dim) {
  const std::int64_t padded = round_up(dim, kGroupDimStep);
  return padded >= 64 ? round_up(padded, 64) : padded;  // whole cache lines
}

std::int64_t n_groups_of(std::int64_t n_centers) {
  const int width = active_kernels().group_width;
  return (n_centers + width - 1) / width;
}

// A copy in rows without gaps.
Matrix copy_of(const Matrix& matrix, std::vector<char>& bytes) {
  const std::int64_t row_bytes = matrix.dim * matrix.itemsize();
  bytes.resize(static_cast<std::size_t>(matrix.rows * row_bytes));
  RowReader read(matrix);
  for (std::int64_t i = 0; i < matrix.rows; ++i)
    std::memcpy(bytes.data() + i * row_bytes, read(i), static_cast<std::size_t>(row_bytes));
  return {bytes.data(), matrix.storage, matrix.rows, matrix.dim, row_bytes, matrix.itemsize()};
}

}  // namespace

Pruner::Pruner(std::int64_t n_rows, std::int64_t n_centers, Metric metric, int n_threads,
               bool keep_rows)
    : kernels_(active_kernels()),
      n_rows_(n_rows),
      n_centers_(n_centers),
      metric_(metric),
      n_threads_(n_threads),
      keep_rows_(keep_rows) {
  const auto size = static_cast<std::size_t>(n_rows);
  rows_.records.resize(size);
  rows_.loaded.resize(size);
  rows_.is_exact.resize(size);
  rows_.left_out.assign(size, kNobody);
  rows_.uppers.resize(size * static_cast<std::size_t>(n_groups_of(n_centers)));
}

std::int64_t Pruner::n_groups() const {
  return (n_centers_ + kernels_.group_width - 1) / kernels_.group_width;
}

std::int64_t Pruner::bytes_per_row(std::int64_t dim, std::int64_t n_centers, bool keep_rows) {
  const auto fixed = static_cast<std::int64_t>(sizeof(RowRecord) + sizeof(LoadedRow) + 1 + 4);
  const std::int64_t n_groups = n_groups_of(n_centers);
  const bool integers = keep_rows && active_kernels().score_group_int8 != nullptr;
  return fixed + 4 * n_groups + Lifts::bytes_per_row(n_groups) +
         (integers ? integer_stride(dim) : 0);
}

void Pruner::begin(const Matrix& centers, const std::int32_t* names, Interrupt& interrupt) {
  const std::vector<char> before_bytes = std::move(bytes_);
  Matrix before = centers_;
  before.data = before_bytes.data();
  centers_ = copy_of(centers, bytes_);
  names_.assign(names, names + n_centers_);
  places_.resize(names_.size());
  for (std::size_t i = 0; i < names_.size(); ++i)
    places_[static_cast<std::size_t>(names_[i])] = static_cast<std::int32_t>(i);

  std::vector<double> half_squares(names_.size());
  for (std::size_t i = 0; panels_ && i < half_squares.size(); ++i)
    half_squares[i] = panels_->half_squares(static_cast<std::int64_t>(i));
  // Scores of one pass can only be compared with those of the next in the same frame.
  knows_rows_ = screen_.has_value() && passed_rows_ == n_rows_;
  passed_rows_ = 0;
  if (knows_rows_) {
    const Frame frame = screen_->frame();
    screen_.emplace(kernels_, metric_, centers_, n_threads_, interrupt, &frame);
    knows_rows_ = screen_->fits_frame();
  }
  if (!knows_rows_) screen_.emplace(kernels_, metric_, centers_, n_threads_, interrupt);
  const bool integers =
      kernels_.score_group_int8 != nullptr && centers_.dim <= kLargestInt8Dim &&
      (knows_rows_ ? panels_->precision() == Precision::kInt8 : screen_->rounds_well());
  panels_.emplace(*screen_, integers ? Precision::kInt8 : Precision::kFloat32, n_threads_,
                  interrupt);
  if (knows_rows_) {
    moves_ = find_moves(before, half_squares);
    lifts_ = Lifts(*screen_, *panels_, moves_, usual_radius(!moves_.deltas.empty()), n_threads_,
                   interrupt);
  }
  if (!knows_rows_ && integers && rows_.stride == 0) {
    rows_.stride = integer_stride(centers_.dim);
    if (keep_rows_) rows_.integers = Aligned<std::uint8_t>(n_rows_ * rows_.stride);
  }
}

CenterMoves Pruner::find_moves(const Matrix& before,
                               const std::vector<double>& half_squares) const {
  const auto size = static_cast<std::size_t>(n_centers_);
  CenterMoves found;
  found.moves.assign(size, 0.0);
  found.gains.assign(size, 0.0);
  found.losses.assign(size, 0.0);
  if (Lifts::from_centers(n_rows_, n_centers_))
    found.deltas.assign(size * static_cast<std::size_t>(centers_.dim), 0.0f);
  const Storage storage = centers_.storage;
  RowReader read_old(before);
  RowReader read_new(centers_);
  for (std::size_t i = 0; i < size; ++i) {
    const auto center = static_cast<std::int64_t>(i);
    const void* from = read_old(center);
    const void* to = read_new(center);
    if (std::memcmp(from, to, static_cast<std::size_t>(centers_.row_stride)) == 0) continue;
    double scale = screen_->scale();
    double old_scale = scale;
    if (metric_ == Metric::kCosine) {
      const auto dot = kernels_.dot[storage][storage];
      const double norm = cosine_norm(dot(from, from, centers_.dim));
      const double moved_norm = screen_->candidate_norm(center);
      const double cosine =
          norm > 0.0 && moved_norm > 0.0 ? dot(from, to, centers_.dim) / (norm * moved_norm) : -1.0;
      const double slack = kCosineSlack * static_cast<double>(centers_.dim + 16);
      found.moves[i] = std::sqrt(std::max(0.0, 2.0 - 2.0 * cosine) + slack);
      scale = moved_norm > 0.0 ? 1.0 / moved_norm : 0.0;
      old_scale = norm > 0.0 ? 1.0 / norm : 0.0;
    } else {
      const double squared = kernels_.squared_distance[storage][storage](from, to, centers_.dim);
      found.moves[i] = std::sqrt(squared) * scale * (1.0 + kDefinitionSlack) + kUnderflow;
      const double now = panels_->half_squares(center);
      const double error =
          0x1p-52 * static_cast<double>(centers_.dim + 16) * (now + half_squares[i]);
      found.gains[i] = half_squares[i] - now + error;
      found.losses[i] = now - half_squares[i] + error;
    }
    if (found.deltas.empty()) continue;
    found.losses[i] = 0.5 * found.moves[i] * found.moves[i];  // seen from where it was
    float* delta = found.deltas.data() + center * centers_.dim;
    for (std::int64_t j = 0; j < centers_.dim; ++j) {
      const double after = value_at(to, storage, j);
      const double earlier = value_at(from, storage, j);
      // One scale for both is applied to the exact difference.
      delta[j] = static_cast<float>(scale == old_scale ? (after - earlier) * scale
                                                       : after * scale - earlier * old_scale);
    }
  }
  return found;
}

// One that most rows reach: bounds are tightest for those that are not far beyond it.
float Pruner::usual_radius(bool from_centers) const {
  constexpr std::int64_t kSample = 512;
  std::vector<float> radii;
  const std::int64_t step = std::max<std::int64_t>(1, n_rows_ / kSample);
  for (std::int64_t row = 0; row < n_rows_; row += step) {
    const auto at = static_cast<std::size_t>(row);
    if (rows_.loaded[at].blind) continue;
    const RowRecord& record = rows_.records[at];
    radii.push_back(Lifts::radius(*screen_, from_centers, record.norm, record.bar));
  }
  if (radii.empty()) return 0.0f;
  const auto tenth = radii.begin() + static_cast<std::ptrdiff_t>(radii.size() / 10);
  std::nth_element(radii.begin(), tenth, radii.end());
  return *tenth;
}

PruningStatistics Pruner::assign(const Matrix& rows, std::int64_t first_row, bool anew,
                                 std::int32_t* labels, Interrupt& interrupt) {
  const PrunedPass pass{rows,           first_row, centers_, names_.data(),
                        places_.data(), *screen_,  *panels_, moves_,
                        lifts_,         rows_,     labels,   anew || !knows_rows_};
  std::atomic<std::int64_t> scored{0};
  std::atomic<std::int64_t> decided{0};
  const std::int64_t block_rows = PrunedBlock::rows_of_a_block(*panels_);
  parallel_for((rows.rows + block_rows - 1) / block_rows, n_threads_, interrupt, [&]() -> Worker {
    return [&, worker = std::make_shared<PrunedBlock>(pass, interrupt)](std::int64_t block) {
      const PruningStatistics statistics = (*worker)(block);
      scored += statistics.scored_pairs;
      decided += statistics.decided_pairs;
    };
  });
  if (!interrupt.stopped()) passed_rows_ += rows.rows;
  return {scored, decided};
}

}  // namespace fastface
