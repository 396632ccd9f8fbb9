#include "pairwise.hpp"

#include <algorithm>

#include "cpu/dispatch.hpp"
#include "panels.hpp"

namespace fastface {
namespace {

constexpr std::int64_t kColumnBytes = std::int64_t{512} << 10;  // of packed columns
constexpr std::int64_t kRowBytes = std::int64_t{128} << 10;     // of loaded rows
constexpr std::int64_t kRowsPerBlock = 4096;  // of rows for which columns are packed once
constexpr std::int64_t kWorthThread = std::int64_t{1} << 21;  // products

// Rows of one matrix as the tiles read them.
class FloatRows {
 public:
  FloatRows(const KernelTable& kernels, Metric metric, const Matrix& matrix, bool is_candidate)
      : kernels_(kernels),
        metric_(metric),
        matrix_(matrix),
        is_candidate_(is_candidate),
        padded_dim_(round_up(matrix.dim, kDimStep)),
        zero_(static_cast<std::size_t>(matrix.dim), 0.0),
        read_(matrix) {}

  const void* raw(std::int64_t i) { return read_(i); }

  // Writes row i and returns the float32 term that its distances add; sets the norm by definition
  // where the metric divides by it.
  float load(std::int64_t i, float* out, double& norm) {
    const void* row = read_(i);
    double scale = 1.0;
    if (metric_ == Metric::kCosine) {
      norm = cosine_norm(
          checked_squared_norm(kernels_, matrix_.storage, row, matrix_.dim, is_candidate_));
      scale = norm > 0.0 ? 1.0 / norm : 0.0;
    }
    kernels_.load_row[matrix_.storage](row, zero_.data(), scale, matrix_.dim, padded_dim_, out);
    const double squared = kernels_.dot[kFloat32][kFloat32](out, out, matrix_.dim);
    if (!(squared < 1e76))  // no number, or beyond float32
      checked_squared_norm(kernels_, matrix_.storage, row, matrix_.dim, is_candidate_);
    return static_cast<float>(squared);
  }

 private:
  const KernelTable& kernels_;
  Metric metric_;
  Matrix matrix_;
  bool is_candidate_;
  std::int64_t padded_dim_;
  std::vector<double> zero_;
  RowReader read_;
};

// Writes the distances between some rows and some columns.
class PairwiseWorker {
 public:
  PairwiseWorker(const Matrix& x, const Matrix& y, Metric metric, float* out, Interrupt& interrupt)
      : kernels_(active_kernels()),
        definition_(kernels_, metric, x, y),
        n_rows_(x.rows),
        n_columns_(y.rows),
        dim_(round_up(x.dim, kDimStep)),
        stride_(round_up(dim_, 16) + (round_up(dim_, 32) == round_up(dim_, 16) ? 16 : 0)),
        out_(out),
        interrupt_(interrupt),
        x_(kernels_, metric, x, false),
        y_(kernels_, metric, y, true) {
    const std::int64_t width = kernels_.panel_width;
    const std::int64_t tile = kernels_.tile_rows;
    columns_ = std::clamp<std::int64_t>(kColumnBytes / (4 * dim_), 1, n_columns_);
    columns_ = round_up(columns_, width);
    rows_ = round_up(std::clamp<std::int64_t>(kRowBytes / (4 * stride_), 1, n_rows_), tile);
    panels_ = Aligned<float>(columns_ * dim_);
    loaded_ = Aligned<float>(rows_ * stride_);
    scratch_.resize(static_cast<std::size_t>(dim_));
    column_terms_.resize(static_cast<std::size_t>(columns_));
    column_norms_.resize(static_cast<std::size_t>(columns_));
    row_terms_.resize(static_cast<std::size_t>(rows_));
    row_norms_.resize(static_cast<std::size_t>(rows_));
  }

  // Columns are packed anew for each block of rows, which is large enough to pay for that.
  void operator()(std::int64_t first_row, std::int64_t last_row) {
    for (std::int64_t column = 0; column < n_columns_; column += columns_) {
      pack_columns(column, std::min(n_columns_, column + columns_));
      for (std::int64_t row = first_row; row < last_row; row += rows_) {
        load_rows(row, std::min(last_row, row + rows_));
        write_tiles(row, std::min(last_row, row + rows_), column,
                    std::min(n_columns_, column + columns_));
        if (interrupt_.stopped()) return;
      }
    }
  }

 private:
  void pack_columns(std::int64_t first, std::int64_t last) {
    const std::int64_t width = kernels_.panel_width;
    for (std::int64_t j = 0; j < round_up(last - first, width); ++j) {
      const auto at = static_cast<std::size_t>(j);
      float* lane = panels_.get() + j / width * width * dim_ + j % width;
      if (first + j < last) {
        column_terms_[at] = y_.load(first + j, scratch_.data(), column_norms_[at]);
      } else {
        column_terms_[at] = 0.0f;
        std::fill(scratch_.begin(), scratch_.end(), 0.0f);
      }
      for (std::int64_t d = 0; d < dim_; ++d)
        lane[d * width] = scratch_[static_cast<std::size_t>(d)];
    }
  }

  void load_rows(std::int64_t first, std::int64_t last) {
    const std::int64_t count = last - first;
    for (std::int64_t i = 0; i < round_up(count, kernels_.tile_rows); ++i) {
      const auto at = static_cast<std::size_t>(i);
      float* row = loaded_.get() + i * stride_;
      if (i < count)
        row_terms_[at] = x_.load(first + i, row, row_norms_[at]);
      else
        std::fill_n(row, dim_, 0.0f);
    }
  }

  void write_tiles(std::int64_t first_row, std::int64_t last_row, std::int64_t first_column,
                   std::int64_t last_column) {
    const int width = kernels_.panel_width;
    const int tile_rows = kernels_.tile_rows;
    const auto distance_tile = kernels_.distance_tile[static_cast<int>(definition_.metric())];
    std::uint32_t doubtful[kMaxTileRows];
    DistanceTile tile{};
    tile.row_stride = stride_;
    tile.dim = dim_;
    tile.out_stride = n_columns_;
    tile.doubtful = doubtful;
    for (std::int64_t row = 0; row < last_row - first_row; row += tile_rows) {
      tile.rows = loaded_.get() + row * stride_;
      tile.row_terms = row_terms_.data() + row;
      tile.n_rows = static_cast<int>(std::min<std::int64_t>(tile_rows, last_row - first_row - row));
      for (std::int64_t column = 0; column < last_column - first_column; column += width) {
        tile.panel = panels_.get() + column * dim_;
        tile.column_terms = column_terms_.data() + column;
        tile.n_columns =
            static_cast<int>(std::min<std::int64_t>(width, last_column - first_column - column));
        tile.out = out_ + (first_row + row) * n_columns_ + first_column + column;
        distance_tile(tile);
        for (int r = 0; r < tile.n_rows; ++r)
          for (std::uint32_t mask = doubtful[r]; mask != 0; mask &= mask - 1)
            define(tile, row, column, first_row, first_column, r, __builtin_ctz(mask));
      }
    }
  }

  void define(const DistanceTile& tile, std::int64_t row, std::int64_t column,
              std::int64_t first_row, std::int64_t first_column, int r, int c) {
    const double key = definition_.key(
        x_.raw(first_row + row + r), row_norms_[static_cast<std::size_t>(row + r)],
        y_.raw(first_column + column + c), column_norms_[static_cast<std::size_t>(column + c)]);
    tile.out[r * tile.out_stride + c] = definition_.distance(key);
  }

  const KernelTable& kernels_;
  Definition definition_;
  std::int64_t n_rows_;
  std::int64_t n_columns_;
  std::int64_t dim_;
  std::int64_t stride_;
  float* out_;
  Interrupt& interrupt_;
  FloatRows x_;
  FloatRows y_;
  std::int64_t columns_ = 0;  // packed at a time
  std::int64_t rows_ = 0;     // loaded at a time
  Aligned<float> panels_;
  Aligned<float> loaded_;
  std::vector<float> scratch_;
  std::vector<float> column_terms_, row_terms_;
  std::vector<double> column_norms_, row_norms_;
};

}  // namespace

void pairwise_distances(const Matrix& x, const Matrix& y, Metric metric, float* out, int n_threads,
                        Interrupt& interrupt) {
  const double work =
      static_cast<double>(x.rows) * static_cast<double>(y.rows) * static_cast<double>(x.dim);
  const int useful =
      static_cast<int>(std::min(static_cast<double>(n_threads), 1.0 + work / kWorthThread));
  // Enough blocks that threads end together, and few enough that packing stays a trifle.
  const std::int64_t per_block =
      useful == 1 ? kRowsPerBlock
                  : std::clamp<std::int64_t>(x.rows / (8 * useful) + 1, 96, kRowsPerBlock);
  const std::int64_t n_blocks = (x.rows + per_block - 1) / per_block;
  parallel_for(n_blocks, useful, interrupt, [&]() -> Worker {
    const auto worker = std::make_shared<PairwiseWorker>(x, y, metric, out, interrupt);
    return [&, worker](std::int64_t block) {
      (*worker)(block* per_block, std::min(x.rows, (block + 1) * per_block));
    };
  });
}

}  // namespace fastface
