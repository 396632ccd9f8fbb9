#include "join.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "shortlists.hpp"

namespace fastface {
namespace {

constexpr std::int64_t kGroup = JoinRows::kGroup;
// Float32 and the definition together are off by less than this share of the squared norms.
constexpr float kDoubt = 2e-6f;

// Sweeps groups of candidates for one group of rows at a time.
class Sweeper {
 public:
  Sweeper(const JoinRows& rows, std::int64_t wanted, std::int64_t spare)
      : rows_(rows),
        lists(kGroup, wanted, spare),
        stride_(round_up(rows.head(), 64) / 64 % 2 == 0 ? round_up(rows.head(), 64) + 64
                                                        : round_up(rows.head(), 64)),
        scales_(static_cast<std::size_t>(kGroup)),
        offsets_(static_cast<std::size_t>(kGroup)),
        norms_(static_cast<std::size_t>(kGroup)) {
    if (rows.integers()) {
      int8s_ = Aligned<std::int8_t>(kGroup * stride_);
      std::fill_n(int8s_.get(), kGroup * stride_, std::int8_t{0});
    } else {
      floats_ = Aligned<float>(kGroup * stride_);
      std::fill_n(floats_.get(), kGroup * stride_, 0.0f);
    }
  }

  // Calls `full(row)` where the list of a row has no room left; it has to make some.
  template <typename Full>
  bool sweep(std::int64_t group, std::int64_t n_visited, bool by_codes, const Full& full,
             Interrupt& interrupt) {
    first_ = group * kGroup;
    count_ = std::min(kGroup, rows_.rows() - first_);
    rows_.copy_heads(group, stride_, floats_.get(), int8s_.get(), scales_.data(), offsets_.data());
    lists.open(count_);
    for (std::int64_t row = 0; row < count_; ++row) {
      norms_[static_cast<std::size_t>(row)] = rows_.code_of(first_ + row).norm;
      lists.open_row(row, static_cast<float>(rows_.half_squares(first_ + row)),
                     by_codes ? rows_.worst_error(first_ + row) : 0.0f);
    }
    rank_groups(group, n_visited);
    for (std::int64_t i = 0; i < n_visited; ++i) {
      visit(ranked_[static_cast<std::size_t>(i)].second, by_codes, full);
      if (interrupt.stopped()) return false;
      if (i == 0)  // what the own group has spares the others much
        for (std::int64_t row = 0; row < count_; ++row) lists.settle(row);
    }
    return true;
  }

  std::int64_t first() const { return first_; }
  std::int64_t count() const { return count_; }

 private:
  // Groups by the distance of their means, the own one first.
  void rank_groups(std::int64_t group, std::int64_t n_visited) {
    const std::int64_t dim = rows_.matrix().dim;
    const float* centers = rows_.centers().data();
    const auto squared_distance = rows_.kernels().squared_distance[kFloat32][kFloat32];
    ranked_.clear();
    for (std::int64_t other = 0; other < rows_.n_groups(); ++other)
      ranked_.emplace_back(
          other == group ? -1.0
                         : squared_distance(centers + group * dim, centers + other * dim, dim),
          other);
    std::partial_sort(ranked_.begin(), ranked_.begin() + n_visited, ranked_.end());
  }

  template <typename Full>
  void visit(std::int64_t group, bool by_codes, const Full& full) {
    const KernelTable& kernels = rows_.kernels();
    const int width = kernels.panel_width;
    alignas(64) float scores[kMaxTileRows * kMaxPanelWidth];
    std::uint32_t survivors[kMaxTileRows];
    Int8Tile tile{};
    tile.scores = scores;
    tile.survivors = survivors;
    tile.row_stride = stride_;
    const std::int64_t begin = group * kGroup / width;
    for (std::int64_t panel = begin; panel < begin + rows_.panels_of(group); ++panel) {
      rows_.show(panel, tile);
      for (std::int64_t row = 0; row < count_; row += kernels.tile_rows) {
        tile.rows = floats_.get() + row * stride_;
        tile.int8_rows = int8s_.get() + row * stride_;
        tile.row_scales = scales_.data() + row;
        tile.row_offsets = offsets_.data() + row;
        tile.norms = norms_.data() + row;
        tile.bars = lists.bars() + row;
        const std::uint32_t reached =
            rows_.integers() ? kernels.score_tile_int8(tile) : kernels.score_tile(tile);
        for (std::uint32_t some = reached; some != 0; some &= some - 1) {
          const int r = __builtin_ctz(some);
          if (row + r < count_) judge(row + r, panel * width, survivors[r], by_codes, full);
        }
      }
    }
  }

  // Compares a row with candidates that passed the screen by their codes.
  template <typename Full>
  void judge(std::int64_t row, std::int64_t base, std::uint32_t survivors, bool by_codes,
             const Full& full) {
    std::int32_t places[kMaxPanelWidth];
    std::int32_t sums[kMaxPanelWidth];
    std::int64_t n = 0;
    const std::int64_t own = first_ + row;
    for (std::uint32_t mask = survivors; mask != 0; mask &= mask - 1) {
      const std::int64_t place = base + __builtin_ctz(mask);
      if (place != own && place < rows_.rows()) places[n++] = static_cast<std::int32_t>(place);
    }
    rows_.kernels().code_dots(rows_.code(own), rows_.codes(), rows_.code_stride(), places, n, sums);
    const JoinRows::Code& mine = rows_.code_of(own);
    for (std::int64_t i = 0; i < n; ++i) {
      const JoinRows::Code& other = rows_.code_of(places[i]);
      const float score =
          mine.scale * other.scale * static_cast<float>(sums[i]) - other.half_squares;
      const float norms = mine.norm + other.norm;
      const float error = by_codes ? 0.0f
                                   : (mine.norm + mine.residual) * other.residual +
                                         mine.residual * other.norm + kDoubt * norms * norms;
      const Kept kept{score - error, score + error, places[i]};
      if (kept.upper < lists.limit(row)) continue;
      if (lists.full(row)) full(row);
      if (kept.upper < lists.limit(row)) continue;
      lists.add(row, kept);
    }
  }

  const JoinRows& rows_;

 public:
  Shortlists lists;

 private:
  std::int64_t stride_;
  Aligned<float> floats_;
  Aligned<std::int8_t> int8s_;
  std::vector<float> scales_;
  std::vector<std::int32_t> offsets_;
  std::vector<float> norms_;
  std::vector<std::pair<double, std::int64_t>> ranked_;
  std::int64_t first_ = 0, count_ = 0;
};

// Finds the exact neighbours of one group of rows after the other.
class ExactWorker {
 public:
  ExactWorker(const JoinRows& rows, Metric metric, std::int64_t k, float* distances,
              std::int32_t* indices, Interrupt& interrupt)
      : rows_(rows),
        definition_(rows.kernels(), metric, rows.matrix(), rows.matrix()),
        read_(rows.matrix()),
        read_other_(rows.matrix()),
        sweeper_(rows, k, std::max(4 * k + 64, kGroup + 32 - k)),
        crowded_(static_cast<std::size_t>(kGroup)),
        k_(static_cast<std::size_t>(k)),
        distances_(distances),
        indices_(indices),
        interrupt_(interrupt) {}

  void operator()(std::int64_t group) {
    std::fill(crowded_.begin(), crowded_.end(), char{0});
    if (!sweeper_.sweep(
            group, rows_.n_groups(), false, [this](std::int64_t row) { make_room(row); },
            interrupt_))
      return;
    for (std::int64_t row = 0; row < sweeper_.count() && !interrupt_.stopped(); ++row) decide(row);
  }

 private:
  using Keyed = std::pair<double, std::int32_t>;

  double key(std::int64_t place, std::int32_t other) {
    return definition_.key(own_, 0.0, read_other_(rows_.row_at(other)), 0.0);
  }

  // The true score of a candidate at a squared distance.
  double score_at(std::int64_t place, double key) const {
    return rows_.half_squares(place) - 0.5 * key * rows_.scale() * rows_.scale();
  }
  double doubt_at(std::int64_t place, double score) const {
    const double norm = rows_.code_of(place).norm;
    return kDoubt * (norm * norm + std::abs(score));
  }

  void make_room(std::int64_t row) {
    sweeper_.lists.drop(row);
    if (sweeper_.lists.crowded(row)) sweeper_.lists.settle(row);
    if (!sweeper_.lists.crowded(row)) return;
    // Exact scores in place of bounds raise the bar and drop more.
    const std::int64_t place = sweeper_.first() + row;
    own_ = read_(rows_.row_at(place));
    for (Kept* kept = sweeper_.lists.begin(row); kept != sweeper_.lists.end(row); ++kept) {
      const double score = score_at(place, key(place, kept->place));
      const double doubt = doubt_at(place, score);
      kept->lower = std::max(kept->lower, static_cast<float>(score - doubt));
      kept->upper = std::min(kept->upper, static_cast<float>(score + doubt));
    }
    sweeper_.lists.settle(row);
    if (!sweeper_.lists.crowded(row)) return;
    crowded_[static_cast<std::size_t>(row)] = 1;  // too many near ties
    sweeper_.lists.close(row);
  }

  // Sends to the definition whoever may be among the k nearest, the best first.
  void decide(std::int64_t row) {
    const std::int64_t place = sweeper_.first() + row;
    const std::int32_t name = rows_.row_at(place);
    own_ = read_(name);
    best_.clear();
    float bar = -kInfinity;
    if (crowded_[static_cast<std::size_t>(row)] != 0) {
      for (std::int64_t other = 0; other < rows_.rows(); ++other)
        if (other != place) offer(place, static_cast<std::int32_t>(other), bar);
    } else {
      sweeper_.lists.settle(row);
      const Kept* const end = sweeper_.lists.end(row);
      for (const Kept* kept = sweeper_.lists.begin(row); kept != end; ++kept) {
        if (kept + kAhead < end && kept[kAhead].upper >= bar)
          read_other_.prefetch(rows_.row_at(kept[kAhead].place));
        if (kept->upper >= bar) offer(place, kept->place, bar);
      }
    }
    std::sort_heap(best_.begin(), best_.end());
    for (std::size_t i = 0; i < k_; ++i) {
      const std::size_t at = static_cast<std::size_t>(name) * k_ + i;
      distances_[at] = definition_.distance(best_[i].first);
      indices_[at] = best_[i].second;
    }
  }

  void offer(std::int64_t place, std::int32_t other, float& bar) {
    const Keyed keyed{key(place, other), rows_.row_at(other)};
    if (best_.size() < k_) {
      best_.push_back(keyed);
      if (best_.size() < k_) return;
      std::make_heap(best_.begin(), best_.end());
    } else {
      if (!(keyed < best_.front())) return;
      std::pop_heap(best_.begin(), best_.end());
      best_.back() = keyed;
      std::push_heap(best_.begin(), best_.end());
    }
    const double score = score_at(place, best_.front().first);
    bar = static_cast<float>(score - doubt_at(place, score));
  }

  static constexpr std::ptrdiff_t kAhead = 8;

  const JoinRows& rows_;
  Definition definition_;
  RowReader read_, read_other_;
  Sweeper sweeper_;
  std::vector<char> crowded_;
  std::vector<Keyed> best_;
  const void* own_ = nullptr;
  std::size_t k_;
  float* distances_;
  std::int32_t* indices_;
  Interrupt& interrupt_;
};

}  // namespace

void join_exactly(const JoinRows& rows, Metric metric, std::int64_t k, float* distances,
                  std::int32_t* indices, int n_threads, Interrupt& interrupt) {
  parallel_for(rows.n_groups(), n_threads, interrupt, [&]() -> Worker {
    return [worker = std::make_shared<ExactWorker>(rows, metric, k, distances, indices, interrupt)](
               std::int64_t group) { (*worker)(group); };
  });
}

void join_nearby(const JoinRows& rows, std::int64_t n_visited, const Lists& lists, int n_threads,
                 Interrupt& interrupt) {
  parallel_for(rows.n_groups(), n_threads, interrupt, [&]() -> Worker {
    return [&, sweeper =
                   std::make_shared<Sweeper>(rows, lists.width, lists.width)](std::int64_t group) {
      const auto make_room = [&](std::int64_t row) {
        sweeper->lists.drop(row);
        if (sweeper->lists.crowded(row)) sweeper->lists.cut(row);
      };
      if (!sweeper->sweep(group, std::min(n_visited, rows.n_groups()), true, make_room, interrupt))
        return;
      for (std::int64_t row = 0; row < sweeper->count(); ++row) {
        sweeper->lists.cut(row);
        std::uint32_t* list = lists.entries + (sweeper->first() + row) * lists.width;
        std::fill(list, list + lists.width, kNobody);
        for (const Kept* kept = sweeper->lists.begin(row); kept != sweeper->lists.end(row); ++kept)
          *list++ = static_cast<std::uint32_t>(kept->place);
      }
    };
  });
}

}  // namespace fastface
