#include "pruned_block.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fastface {
namespace {

constexpr std::int64_t kCachedOperands = std::int64_t{768} << 10;  // bytes
constexpr std::int64_t kFewestRows = 512;
constexpr std::int64_t kMostRows = 1536;
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

std::int64_t operand_bytes(const GroupPanels& panels) {
  return panels.precision() == Precision::kInt8 ? panels.padded_dim() : 4 * panels.padded_dim();
}

}  // namespace

std::int64_t PrunedBlock::rows_of_a_block(const GroupPanels& panels) {
  return std::clamp(kCachedOperands / operand_bytes(panels), kFewestRows, kMostRows);
}

PrunedBlock::PrunedBlock(const PrunedPass& pass, Interrupt& interrupt)
    : pass_(pass),
      kernels_(pass.screen.kernels()),
      interrupt_(interrupt),
      definition_(kernels_, pass.screen.metric(), pass.rows, pass.centers),
      read_row_(pass.rows),
      read_center_(pass.centers),
      integers_(pass.panels.precision() == Precision::kInt8),
      keeps_rows_(integers_ && pass.state.integers.get() != nullptr),
      stride_(integers_ ? pass.state.stride : round_up(operand_bytes(pass.panels), 64)) {
  const std::int64_t most = rows_of_a_block(pass.panels);
  if (!keeps_rows_) operands_ = Aligned<char>(most * stride_);
  values_.resize(static_cast<std::size_t>(pass.panels.padded_dim()));
  rounded_.resize(static_cast<std::size_t>(pass.panels.padded_dim() + 16));
  const auto size = static_cast<std::size_t>(most);
  keys_.resize(size);
  needs_.resize(size);
  n_wanted_.resize(static_cast<std::size_t>(pass.panels.n_groups()));
  wanted_.resize((size + kMaxGroupRows) * n_wanted_.size());
}

const void* PrunedBlock::operand(std::int64_t row) const {
  if (keeps_rows_) return pass_.state.integers.get() + (pass_.first_row + first_ + row) * stride_;
  return operands_.get() + row * stride_;
}

float* PrunedBlock::uppers(std::int64_t row) const {
  return pass_.state.uppers.data() + (pass_.first_row + first_ + row) * pass_.panels.n_groups();
}

RowRecord& PrunedBlock::record(std::int64_t row) const {
  return pass_.state.records[static_cast<std::size_t>(pass_.first_row + first_ + row)];
}

const LoadedRow& PrunedBlock::loaded(std::int64_t row) const {
  return pass_.state.loaded[static_cast<std::size_t>(pass_.first_row + first_ + row)];
}

char& PrunedBlock::is_exact(std::int64_t row) const {
  return pass_.state.is_exact[static_cast<std::size_t>(pass_.first_row + first_ + row)];
}

std::int32_t& PrunedBlock::left_out(std::int64_t row) const {
  return pass_.state.left_out[static_cast<std::size_t>(pass_.first_row + first_ + row)];
}

PruningStatistics PrunedBlock::operator()(std::int64_t number) {
  const std::int64_t most = rows_of_a_block(pass_.panels);
  first_ = number * most;
  const std::int64_t count = std::min(pass_.rows.rows - first_, most);
  statistics_ = {};
  std::fill(keys_.begin(), keys_.end(), kUnknown);
  if (pass_.anew || !keeps_rows_) load(count);
  if (pass_.anew) {
    forget(count);
  } else {
    notice_new_labels(count);
    follow_centers(count);
  }
  face_own_centers(count);
  score_wanted(count);
  return statistics_;
}

// Brings rows into the form that tiles read.
void PrunedBlock::load(std::int64_t count) {
  constexpr std::int64_t kAhead = 4;
  for (std::int64_t row = 0; row < count; ++row) {
    if (row + kAhead < count) read_row_.prefetch(first_ + row + kAhead);
    char* to = static_cast<char*>(const_cast<void*>(operand(row)));
    float* values = integers_ ? values_.data() : reinterpret_cast<float*>(to);
    const std::int64_t padded = pass_.panels.padded_dim();
    std::fill(values + pass_.screen.padded_dim(), values + padded, 0.0f);
    const LoadedRow loaded = pass_.screen.load(pass_.rows.storage, read_row_(first_ + row), values);
    RowRecord& known = record(row);
    if (integers_) {
      round_row(kernels_, values, padded, rounded_.data(), reinterpret_cast<std::uint8_t*>(to),
                known);
    }
    if (!pass_.anew) continue;
    if (!integers_) known.scale = known.residual = 0.0f;
    known.norm = loaded.blind ? 0.0f : round_up_to_float(std::sqrt(loaded.squares));
    known.bar = -kInfinity;
    pass_.state.loaded[static_cast<std::size_t>(pass_.first_row + first_ + row)] = loaded;
  }
}

double PrunedBlock::key(std::int64_t row, std::int64_t center) {
  return definition_.key(read_row_(first_ + row), loaded(row).own_norm, read_center_(center),
                         pass_.screen.candidate_norm(center));
}

// The distance to the own center, and the bar that it sets.
void PrunedBlock::face_own(std::int64_t row) {
  double& own = keys_[static_cast<std::size_t>(row)];
  if (std::isnan(own)) own = key(row, pass_.places[label(row)]);
  record(row).bar = loaded(row).blind ? -kInfinity : pass_.screen.bar_at(own, loaded(row));
  is_exact(row) = 1;
}

// Nothing is known: everybody has to look at everything.
void PrunedBlock::forget(std::int64_t count) {
  std::fill_n(uppers(0), count * pass_.panels.n_groups(), kInfinity);
  for (std::int64_t row = 0; row < count; ++row) {
    is_exact(row) = 0;
    left_out(row) = kNobody;
  }
  std::fill(needs_.begin(), needs_.end(), 1);
}

// Rows that have to look at some group do so with the bar of an exact distance.
void PrunedBlock::face_own_centers(std::int64_t count) {
  constexpr std::int64_t kAhead = 4;
  for (std::int64_t row = 0; row < count; ++row) {
    if (row + kAhead < count && needs_[static_cast<std::size_t>(row + kAhead)] != 0)
      read_row_.prefetch(first_ + row + kAhead);
    if (needs_[static_cast<std::size_t>(row)] != 0 && is_exact(row) == 0) face_own(row);
  }
}

// A center that no bound counts has to be the own one.
void PrunedBlock::notice_new_labels(std::int64_t count) {
  for (std::int64_t row = 0; row < count; ++row)
    if (left_out(row) != kNobody && left_out(row) != pass_.places[label(row)])
      count_again(row, kInfinity);
}

// The bound of the group that holds the center left out so far has to count it.
void PrunedBlock::count_again(std::int64_t row, float upper) {
  float& bound = uppers(row)[group_of(left_out(row))];
  bound = std::max(bound, upper);
  left_out(row) = kNobody;
}

// The bound of the group with the own center becomes that of the others in it.
void PrunedBlock::leave_out_own(std::int64_t row, std::int64_t group, const float* scores,
                                float error) {
  const std::int32_t own = pass_.places[label(row)];
  if (group_of(own) != group) return;
  const int width = kernels_.group_width;
  const auto own_lane = static_cast<int>(own - group * width);
  float best = -kInfinity;
  for (int lane = 0; lane < width; ++lane)
    if (lane != own_lane) best = std::max(best, scores[lane]);
  uppers(row)[group] = best + error;
  left_out(row) = own;
}

// Bounds rise and bars sink by what the moves of the centers can add to, or take from, a score.
void PrunedBlock::follow_centers(std::int64_t count) {
  const std::int64_t n_groups = pass_.panels.n_groups();
  for (std::int64_t row = 0; row < count; ++row) {
    const std::int32_t own = pass_.places[label(row)];
    const double move = pass_.moves.moves[static_cast<std::size_t>(own)];
    RowRecord& known = record(row);
    const float radius = pass_.lifts.radius(pass_.screen, known.norm, known.bar);
    if (move != 0.0 && !loaded(row).blind) {
      const double fall =
          static_cast<double>(radius) * move + pass_.moves.losses[static_cast<std::size_t>(own)];
      const double bar = static_cast<double>(known.bar) - fall - loaded(row).slack;
      const double rounding = (std::abs(bar) + std::abs(fall)) * 4.0 * kBarSlack;
      known.bar = static_cast<float>(bar - rounding - kUnderflow);
      is_exact(row) = 0;
    }
    needs_[static_cast<std::size_t>(row)] = kernels_.lift_row(
        {n_groups, pass_.lifts.moves(), pass_.lifts.offsets(own), radius, known.bar, uppers(row)});
  }
}

// Scores rows against a group and writes their bounds.  Calls take_in(row, error, scores,
// survivors) for those that reached their bar.
template <typename TakeIn>
void PrunedBlock::score(std::int64_t group, const std::uint16_t* rows, std::int32_t n_rows,
                        const TakeIn& take_in) {
  const int tile_rows = kernels_.group_rows;
  const int width = kernels_.group_width;
  const void* addresses[kMaxGroupRows];
  RowRecord records[kMaxGroupRows];
  alignas(64) float bounds[kMaxGroupRows];
  alignas(64) float scores[kMaxGroupRows * kMaxGroupWidth];
  std::uint32_t survivors[kMaxGroupRows];
  GroupTile tile{};
  pass_.panels.show(group, tile);
  tile.rows = addresses;
  tile.records = records;
  tile.uppers = bounds;
  tile.scores = scores;
  tile.survivors = survivors;
  const auto kernel = integers_ ? kernels_.score_group_int8 : kernels_.score_group;
  const char* operands = static_cast<const char*>(operand(0));
  const RowRecord* known = &record(0);
  float* uppers = this->uppers(0) + group;
  const std::int64_t n_groups = pass_.panels.n_groups();
  const std::int64_t bytes = operand_bytes(pass_.panels);
  for (std::int32_t at = 0; at < n_rows; at += tile_rows) {
    const int count = std::min(tile_rows, n_rows - at);
    for (int r = 0; r < count; ++r) {
      addresses[r] = operands + rows[at + r] * stride_;
      records[r] = known[rows[at + r]];
    }
    for (int r = count; r < tile_rows; ++r) {  // rows that do not exist want nobody
      addresses[r] = addresses[0];
      records[r] = records[0];
      records[r].bar = kInfinity;
    }
    const std::int32_t ahead = std::min(at + 2 * tile_rows, n_rows);
    for (std::int32_t next = at + tile_rows; next < ahead; ++next)
      for (std::int64_t byte = 0; byte < bytes; byte += 64)
        __builtin_prefetch(operands + rows[next] * stride_ + byte);
    std::uint32_t reached = kernel(tile);
    for (int r = 0; r < count; ++r) uppers[rows[at + r] * n_groups] = bounds[r];
    for (; reached != 0; reached &= reached - 1) {
      const int r = __builtin_ctz(reached);
      const RowRecord& row = records[r];
      const float error = row.norm * tile.slope + (row.residual * tile.reach + tile.offset);
      leave_out_own(rows[at + r], group, scores + r * width, error);
      take_in(rows[at + r], error, scores + r * width, survivors[r]);
    }
  }
}

void PrunedBlock::score_wanted(std::int64_t count) {
  const int width = kernels_.group_width;
  const std::int64_t n_groups = pass_.panels.n_groups();
  const auto capacity = static_cast<std::int64_t>(needs_.size()) + kMaxGroupRows;
  kernels_.list_wanted({count, needs_.data(), &record(0), n_groups, uppers(0), capacity,
                        wanted_.data(), n_wanted_.data()});
  for (std::int64_t group = 0; group < n_groups; ++group) {
    const auto at = static_cast<std::size_t>(group);
    statistics_.scored_pairs += n_wanted_[at];
    score(group, wanted_.data() + group * capacity, n_wanted_[at],
          [&](std::int64_t row, float error, const float* scores, std::uint32_t survivors) {
            for (; survivors != 0; survivors &= survivors - 1) {
              const int lane = __builtin_ctz(survivors);
              const std::int64_t center = group * width + lane;
              if (center >= pass_.centers.rows) continue;
              // The bar may have been raised since.
              if (scores[lane] + error < record(row).bar) continue;
              decide(row, center);
            }
          });
    if (interrupt_.stopped()) return;
  }
}

void PrunedBlock::decide(std::int64_t row, std::int64_t center) {
  std::int32_t& label = this->label(row);
  const std::int32_t name = pass_.names[center];
  if (name == label) return;
  ++statistics_.decided_pairs;
  double& nearest = keys_[static_cast<std::size_t>(row)];
  if (std::isnan(nearest)) nearest = key(row, pass_.places[label]);
  const double candidate = key(row, center);
  if (candidate > nearest || (candidate == nearest && name > label)) return;
  if (left_out(row) != kNobody) {
    const double score = pass_.screen.score_at(nearest, loaded(row));
    const double doubt = loaded(row).slack + kBarSlack * std::abs(score);
    count_again(row, std::isfinite(score) ? round_up_to_float(score + doubt) : kInfinity);
  }
  nearest = candidate;
  label = name;
  face_own(row);
}

}  // namespace fastface
