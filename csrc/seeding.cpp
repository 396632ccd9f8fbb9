#include "seeding.hpp"

#include <algorithm>
#include <mutex>

#include "cpu/dispatch.hpp"
#include "lloyd.hpp"
#include "sweep.hpp"

namespace fastface {
namespace {

constexpr std::int64_t kRowsPerBlock = 1024;  // a multiple of every panel width
constexpr std::int64_t kWorthScreen = 2048;   // rows

std::int64_t n_blocks_of(std::int64_t rows) { return (rows + kRowsPerBlock - 1) / kRowsPerBlock; }

// A row scaled to one, in float32; nothing where it has no direction.
void write_unit(const void* row, Storage storage, std::int64_t dim, double norm, float* out) {
  for (std::int64_t j = 0; j < dim; ++j)
    out[j] = norm > 0.0 ? static_cast<float>(value_at(row, storage, j) / norm) : 0.0f;
}

Matrix unit_matrix(const std::vector<float>& values, std::int64_t rows, std::int64_t dim) {
  return {reinterpret_cast<const char*>(values.data()),   kFloat32,     rows, dim,
          dim * static_cast<std::int64_t>(sizeof(float)), sizeof(float)};
}

}  // namespace

// Judges the rows of one block at a time.
class Seeder::Evaluator {
 public:
  Evaluator(const Seeder& seeder, const Matrix& candidates, const Block* block, Findings* findings,
            const std::vector<float>& bars)
      : seeder_(seeder),
        definition_(seeder.kernels_, seeder.metric_, seeder.rows_, candidates),
        read_row_(seeder.rows_),
        n_candidates_(candidates.rows),
        block_(block),
        bars_(bars),
        findings_(findings) {
    RowReader read(candidates);
    const std::int64_t bytes = candidates.dim * candidates.itemsize();
    for (std::int64_t c = 0; c < n_candidates_; ++c) {
      const auto* row = static_cast<const char*>(read(c));
      copies_.emplace_back(row, row + bytes);
      norms_.push_back(seeder.center_norm(row, candidates.storage));
    }
  }

  void operator()(std::int64_t number) {
    const std::int64_t first = number * kRowsPerBlock;
    const std::int64_t last = std::min(seeder_.rows_.rows, first + kRowsPerBlock);
    if (block_ == nullptr) {
      for (std::int64_t i = first; i < last; ++i)
        for (std::int64_t c = 0; c < n_candidates_; ++c) judge(i, c);
      return;
    }
    const KernelTable& kernels = seeder_.kernels_;
    const bool integers = block_->precision() == Precision::kInt8;
    const int width = kernels.panel_width;
    alignas(64) float scores[kMaxTileRows * kMaxPanelWidth];
    std::uint32_t survivors[kMaxTileRows];
    Int8Tile tile{};
    tile.dim = seeder_.screen_->padded_dim();
    tile.scores = scores;
    tile.survivors = survivors;
    for (std::int64_t base = first; base < last; base += width) {
      seeder_.panels_->show(base / width, tile);
      tile.biases = seeder_.biases_.data() + base;
      for (std::int64_t c = 0; c < n_candidates_; c += kernels.tile_rows) {
        block_->show(c, tile);
        tile.bars = const_cast<float*>(bars_.data()) + c;  // only raising kernels write to it
        std::uint32_t reached = integers ? kernels.score_tile_int8(tile) : kernels.score_tile(tile);
        for (; reached != 0; reached &= reached - 1) {
          const int r = __builtin_ctz(reached);
          if (c + r >= n_candidates_) break;
          for (std::uint32_t mask = survivors[r]; mask != 0; mask &= mask - 1) {
            const std::int64_t i = base + __builtin_ctz(mask);
            if (i < last) judge(i, c + r);
          }
        }
      }
    }
  }

 private:
  void judge(std::int64_t i, std::int64_t c) {
    const auto at = static_cast<std::size_t>(c);
    const double norm = seeder_.norms_.empty() ? 0.0 : seeder_.norms_[static_cast<std::size_t>(i)];
    const double distance = definition_.key(read_row_(i), norm, copies_[at].data(), norms_[at]);
    const double before = seeder_.nearest_[static_cast<std::size_t>(i)];
    if (!(distance < before)) return;
    findings_->improved[at].push_back({i, distance});
    findings_->gains[at] += seeder_.share(i, before) - seeder_.share(i, distance);
  }

  const Seeder& seeder_;
  Definition definition_;
  RowReader read_row_;
  std::int64_t n_candidates_;
  const Block* block_;
  const std::vector<float>& bars_;
  Findings* findings_;
  std::vector<std::vector<char>> copies_;
  std::vector<double> norms_;
};

Seeder::Seeder(const Matrix& rows, const double* weights, Metric metric, int n_threads)
    : kernels_(active_kernels()),
      rows_(rows),
      weights_(weights),
      metric_(metric),
      n_threads_(n_threads),
      nearest_(static_cast<std::size_t>(rows.rows)),
      block_sums_(static_cast<std::size_t>(n_blocks_of(rows.rows))) {}

double Seeder::center_norm(const void* center, Storage storage) const {
  if (metric_ != Metric::kCosine) return 0.0;
  return cosine_norm(kernels_.dot[storage][storage](center, center, rows_.dim));
}

std::int64_t Seeder::share(std::int64_t row, double distance) const {
  const double weighted = weights_ == nullptr ? distance : distance * weights_[row];
  return std::llrint(weighted * scale_);
}

double Seeder::begin(const Matrix& center, Interrupt& interrupt) {
  const std::vector<std::int32_t> labels(static_cast<std::size_t>(rows_.rows), 0);
  own_distances(rows_, center, labels.data(), metric_, nearest_.data(), n_threads_, interrupt);
  if (metric_ == Metric::kCosine && norms_.empty()) {
    norms_.resize(static_cast<std::size_t>(rows_.rows));
    row_norms(rows_, norms_.data(), n_threads_, interrupt);
  }
  if (rows_.rows >= kWorthScreen && !screen_) pack(interrupt);
  double largest = 0.0;
  for (std::int64_t i = 0; i < rows_.rows; ++i) {
    const double distance = nearest_[static_cast<std::size_t>(i)];
    largest = std::max(largest, weights_ == nullptr ? distance : distance * weights_[i]);
    if (screen_) update_bias(i);
  }
  return largest;
}

void Seeder::pack(Interrupt& interrupt) {
  Matrix screened = rows_;
  if (metric_ == Metric::kCosine) {
    unit_rows_.resize(static_cast<std::size_t>(rows_.rows * rows_.dim));
    RowReader read(rows_);
    for (std::int64_t i = 0; i < rows_.rows; ++i)
      write_unit(read(i), rows_.storage, rows_.dim, norms_[static_cast<std::size_t>(i)],
                 unit_rows_.data() + i * rows_.dim);
    screened = unit_matrix(unit_rows_, rows_.rows, rows_.dim);
  }
  screen_.emplace(kernels_, Metric::kSquaredEuclidean, screened, n_threads_, interrupt);
  const bool integers = kernels_.round_to_int8 != nullptr && screen_->rounds_well();
  panels_.emplace(Panels::all(*screen_, integers ? Precision::kInt8 : Precision::kFloat32,
                              n_threads_, interrupt));
  squares_.resize(static_cast<std::size_t>(rows_.rows));
  biases_.assign(static_cast<std::size_t>(screen_->n_panels() * kernels_.panel_width), kInfinity);
  parallel_for(n_blocks_of(rows_.rows), n_threads_, interrupt, [&]() -> Worker {
    return [&, read = RowReader(screened),
            scratch = std::vector<float>(static_cast<std::size_t>(screen_->padded_dim()))](
               std::int64_t block) mutable {
      const std::int64_t last = std::min(rows_.rows, (block + 1) * kRowsPerBlock);
      for (std::int64_t i = block * kRowsPerBlock; i < last; ++i)
        squares_[static_cast<std::size_t>(i)] = screen_->load_candidate(i, read(i), scratch.data());
    };
  });
  // Biases and bars are rounded to float32 and, as scaled, at most four times the largest square;
  // unit rows are float32 themselves.  Sixteen roundings cover all that, and the definition's too.
  const double reach = *std::max_element(squares_.begin(), squares_.end());
  margin_ = 16.0 * 0x1p-24 * 4.0 * reach + 1e-30;
}

// A candidate c beats the nearest center of x where |x - c|^2 < nearest, that is, as scaled, where
// <x, c> - (|x|^2 - nearest) / 2 > |c|^2 / 2: the left side is the tile's score, the right its bar.
void Seeder::update_bias(std::int64_t row) {
  const auto at = static_cast<std::size_t>(row);
  const double t = screen_->scale();
  const double squared = metric_ == Metric::kCosine ? 2.0 * nearest_[at] : nearest_[at];
  biases_[at] = static_cast<float>(0.5 * (squares_[at] - t * t * squared));
}

std::int64_t Seeder::set_scale(double scale) {
  scale_ = scale;
  potential_ = 0;
  std::fill(block_sums_.begin(), block_sums_.end(), std::int64_t{0});
  for (std::int64_t i = 0; i < rows_.rows; ++i)
    block_sums_[static_cast<std::size_t>(i / kRowsPerBlock)] +=
        share(i, nearest_[static_cast<std::size_t>(i)]);
  for (const std::int64_t sum : block_sums_) potential_ += sum;
  return potential_;
}

std::int64_t Seeder::locate(std::int64_t target) const {
  std::size_t block = 0;
  while (block + 1 < block_sums_.size() && block_sums_[block] <= target)
    target -= block_sums_[block++];
  const std::int64_t first = static_cast<std::int64_t>(block) * kRowsPerBlock;
  const std::int64_t last = std::min(rows_.rows, first + kRowsPerBlock);
  for (std::int64_t i = first; i < last; ++i) {
    const std::int64_t here = share(i, nearest_[static_cast<std::size_t>(i)]);
    if (target < here) return i;
    target -= here;
  }
  return last - 1;
}

std::vector<std::int64_t> Seeder::evaluate(const Matrix& candidates, Interrupt& interrupt) {
  const auto count = static_cast<std::size_t>(candidates.rows);
  std::optional<Block> block;
  std::vector<float> unit;
  std::vector<float> bars(count + kMaxTileRows, kInfinity);
  if (screen_) {
    Matrix queries = candidates;
    if (metric_ == Metric::kCosine) {
      unit.resize(count * static_cast<std::size_t>(rows_.dim));
      RowReader read(candidates);
      for (std::int64_t c = 0; c < candidates.rows; ++c) {
        const void* row = read(c);
        write_unit(row, candidates.storage, rows_.dim, center_norm(row, candidates.storage),
                   unit.data() + c * rows_.dim);
      }
      queries = unit_matrix(unit, candidates.rows, rows_.dim);
    }
    std::vector<std::int64_t> numbers(count);
    std::iota(numbers.begin(), numbers.end(), std::int64_t{0});
    RowReader read(queries);
    block.emplace(*screen_, panels_->precision(), candidates.rows);
    block->load(queries, read, numbers);
    for (std::size_t c = 0; c < count; ++c) {
      const LoadedRow& loaded = block->loaded(static_cast<std::int64_t>(c));
      bars[c] = loaded.blind ? -kInfinity : static_cast<float>(0.5 * loaded.squares - margin_);
    }
  }

  std::mutex lock;
  std::vector<std::unique_ptr<Findings>> all;
  parallel_for(n_blocks_of(rows_.rows), n_threads_, interrupt, [&]() -> Worker {
    auto own = std::make_unique<Findings>();
    own->improved.resize(count);
    own->gains.assign(count, 0);
    auto evaluator =
        std::make_shared<Evaluator>(*this, candidates, block ? &*block : nullptr, own.get(), bars);
    const std::lock_guard<std::mutex> guard(lock);
    all.push_back(std::move(own));
    return [evaluator](std::int64_t number) { (*evaluator)(number); };
  });

  findings_.clear();
  std::vector<std::int64_t> potentials(count, potential_);
  for (auto& own : all) {
    for (std::size_t c = 0; c < count; ++c) potentials[c] -= own->gains[c];
    findings_.push_back(std::move(*own));
  }
  return potentials;
}

void Seeder::accept(std::size_t which) {
  for (const Findings& findings : findings_)
    for (const Improved& improved : findings.improved[which]) {
      const auto at = static_cast<std::size_t>(improved.row);
      const std::int64_t gain =
          share(improved.row, nearest_[at]) - share(improved.row, improved.distance);
      block_sums_[static_cast<std::size_t>(improved.row / kRowsPerBlock)] -= gain;
      potential_ -= gain;
      nearest_[at] = improved.distance;
      if (screen_) update_bias(improved.row);
    }
  findings_.clear();
}

}  // namespace fastface
