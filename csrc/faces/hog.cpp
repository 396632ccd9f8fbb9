#include "faces/hog.hpp"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "faces/resample.hpp"

namespace fastface {
namespace {

constexpr std::int64_t kBefore = (kHogTaps - 1) / 2;  // zeros around the features
constexpr std::int64_t kBorder = kHogTaps - 1;
constexpr std::int64_t kTileRows = 64;
constexpr std::int64_t kRing = 3;

std::size_t count(std::int64_t n) { return static_cast<std::size_t>(n); }

std::int64_t round_up(std::int64_t n, std::int64_t step) { return (n + step - 1) / step * step; }

// Features of one level inside a border of zeros.
struct Features {
  std::int64_t rows = 0;  // of windows
  std::int64_t columns = 0;
  std::int64_t row_stride = 0;
  std::int64_t plane_stride = 0;
  std::vector<float> values;

  void clear(std::int64_t n_rows, std::int64_t n_columns) {
    rows = n_rows;
    columns = n_columns;
    row_stride = round_up(columns + kBorder, kFaceSlack) + kFaceSlack;
    plane_stride = (rows + kBorder) * row_stride;
    values.assign(count(kHogPlanes * plane_stride + kFaceSlack), 0.0f);
  }
};

// Cells of a level, a row at a time: few enough to stay in a core's own cache.
class CellRing {
 public:
  CellRing(std::int64_t rows, std::int64_t columns)
      : rows_(rows),
        columns_(columns),
        stride_(columns + 2 + kFaceSlack),
        band_(count(2 * kHogBins * stride_)),
        histograms_(count(kRing * kHogBins * stride_)),
        energies_(count(kRing * stride_)),
        clips_(count(4 * stride_)) {}

  CellBand band() { return {band_.data(), 2 * stride_}; }

  // Takes the upper row of the band, which nothing is added to any more, and makes the lower one
  // the upper one.  The row -1 only catches what falls outside.
  void finish(std::int64_t row) {
    float* histogram = this->histogram(row);
    for (std::int64_t o = 0; o < kHogBins; ++o) {
      float* __restrict both = band_.data() + o * 2 * stride_;
      float* __restrict out = histogram + o * stride_;
      for (std::int64_t c = 0; c < columns_ + 2; ++c) {
        out[c] = both[2 * c];
        both[2 * c] = both[2 * c + 1];
        both[2 * c + 1] = 0.0f;
      }
    }
    float* __restrict energy = this->energy(row);
    std::fill(energy, energy + columns_, 0.0f);
    for (std::int64_t o = 0; o < kHogBins / 2; ++o) {
      const float* first = histogram + o * stride_ + 1;
      const float* second = histogram + (o + kHogBins / 2) * stride_ + 1;
      for (std::int64_t c = 0; c < columns_; ++c) {
        const float both = first[c] + second[c];
        energy[c] += both * both;
      }
    }
  }

  // The features of the row before the one that was finished last.
  void describe(const FaceKernels& kernels, std::int64_t last, Features& out) {
    CellRows rows;
    for (std::int64_t i = 0; i < 3; ++i) rows.energies[i] = energy(last - 2 + i);
    rows.histogram = histogram(last - 1) + 2;
    rows.histogram_stride = stride_;
    rows.width = columns_ - 2;
    rows.clips = clips_.data();
    rows.clip_stride = stride_;
    rows.features = out.values.data() + (kBefore + last - 2) * out.row_stride + kBefore;
    rows.plane_stride = out.plane_stride;
    kernels.describe(rows);
  }

 private:
  float* histogram(std::int64_t row) {
    return histograms_.data() + (row + kRing) % kRing * kHogBins * stride_;
  }
  float* energy(std::int64_t row) { return energies_.data() + (row + kRing) % kRing * stride_; }

  std::int64_t rows_, columns_, stride_;
  std::vector<float> band_, histograms_, energies_, clips_;
};

// False where the level is too small to have any.
bool describe_level(const FaceKernels& kernels, const Planes& planes, Features& out) {
  // In single precision, as dlib: a side of 8 * k + 4 counts as k + 1 cells.
  const std::int64_t rows = (planes.rows + kHogCell / 2) / kHogCell;
  const std::int64_t columns = (planes.columns + kHogCell / 2) / kHogCell;
  if (rows <= 2 || columns <= 2) return false;
  out.clear(rows - 2, columns - 2);
  CellRing ring(rows, columns);
  const std::int64_t last_row = std::min(rows * kHogCell, planes.rows) - 1;
  const std::int64_t last_column = std::min(columns * kHogCell, planes.columns) - 1;
  std::vector<std::int32_t> places(count(last_column + kFaceSlack));
  std::vector<float> lengths(count(last_column + kFaceSlack));
  const std::uint8_t* directions = gradient_directions().data();
  GradientRow row{};
  row.end = last_column;
  row.later_end = 1 + std::max<std::int64_t>(last_column - 1, 0) / 8 * 8;
  row.places = places.data();
  row.lengths = lengths.data();
  std::int64_t y = 1;
  for (std::int64_t band = 0; band <= rows; ++band) {
    for (; y < last_row && (y + kHogCell / 2) / kHogCell == band; ++y) {
      for (int color = 0; color < 3; ++color) {
        row.above[color] = planes.row(color, y - 1);
        row.here[color] = planes.row(color, y);
        row.below[color] = planes.row(color, y + 1);
      }
      kernels.measure_gradients(row);
      const auto below = static_cast<float>((y + kHogCell / 2) % kHogCell);
      kernels.bin_gradients(row, directions, (below + 0.5f) / kHogCell, ring.band());
    }
    ring.finish(band - 1);
    if (band >= 3) ring.describe(kernels, band - 1, out);
  }
  return true;
}

}  // namespace

const std::vector<std::uint8_t>& gradient_directions() {
  static const std::vector<std::uint8_t> table = [] {
    constexpr float kDirections[kHogBins / 2][2] = {
        {1.0000f, 0.0000f},  {0.9397f, 0.3420f},  {0.7660f, 0.6428f},
        {0.500f, 0.8660f},   {0.1736f, 0.9848f},  {-0.1736f, 0.9848f},
        {-0.5000f, 0.8660f}, {-0.7660f, 0.6428f}, {-0.9397f, 0.3420f}};
    std::vector<std::uint8_t> nearest;
    for (int y = -255; y <= 255; ++y)
      for (int x = -255; x <= 255; ++x) {
        float best = 0.0f;
        int direction = 0;
        for (int o = 0; o < kHogBins / 2; ++o) {
          const float along =
              static_cast<float>(x) * kDirections[o][0] + static_cast<float>(y) * kDirections[o][1];
          if (along > best) {
            best = along;
            direction = o;
          } else if (-along > best) {
            best = -along;
            direction = o + kHogBins / 2;
          }
        }
        nearest.push_back(static_cast<std::uint8_t>(direction));
      }
    return nearest;
  }();
  return table;
}

HogSearch::HogSearch(std::vector<SeparableFilter> filters) : filters_(std::move(filters)) {
  const auto place = [](const SeparableFilter& f) { return std::tie(f.plane, f.part); };
  std::stable_sort(filters_.begin(), filters_.end(),
                   [&](const auto& a, const auto& b) { return place(a) < place(b); });
  for (const SeparableFilter& filter : filters_) parts_ = std::max(parts_, filter.part + 1);
}

std::vector<HogHit> HogSearch::run(const FaceKernels& kernels, const std::uint8_t* rgb,
                                   std::int64_t rows, std::int64_t columns, int levels,
                                   const float* least) const {
  const std::int64_t lanes = kernels.hog_lanes;
  const std::int64_t part_stride = (kTileRows + kFaceSlack) * lanes;
  std::vector<float> scratch(count((kTileRows + kBorder + kFaceSlack) * lanes));
  std::vector<float> responses(count(parts_ * part_stride));
  std::vector<HogHit> hits;
  Planes planes, smaller;
  Features features;
  load_planes(kernels, rgb, rows, columns, planes);

  const auto search_tile = [&](int level, std::int64_t first_row, std::int64_t n_rows,
                               std::int64_t first_column) {
    std::fill(responses.begin(), responses.end(), 0.0f);
    FilterTile tile;
    tile.features = features.values.data() + first_row * features.row_stride + first_column;
    tile.plane_stride = features.plane_stride;
    tile.row_stride = features.row_stride;
    tile.n_rows = n_rows;
    tile.filters = filters_.data();
    tile.n_filters = static_cast<std::int64_t>(filters_.size());
    tile.scratch = scratch.data();
    tile.responses = responses.data();
    tile.part_stride = part_stride;
    kernels.filter(tile);
    const std::int64_t n_columns = std::min(lanes, features.columns - first_column);
    for (int part = 0; part < parts_; ++part)
      for (std::int64_t r = 0; r < n_rows; ++r) {
        const float* values = responses.data() + part * part_stride + r * lanes;
        for (std::int64_t c = 0; c < n_columns; ++c)
          if (values[c] >= least[part])
            hits.push_back({level, part, static_cast<std::int32_t>(first_row + r),
                            static_cast<std::int32_t>(first_column + c), values[c]});
      }
  };

  for (int level = 0; level < levels; ++level) {
    if (level > 0) {
      smaller.resize(5 * planes.rows / 6, 5 * planes.columns / 6);
      if (smaller.rows == 0 || smaller.columns == 0) break;
      resample(kernels, planes, smaller);
      std::swap(planes, smaller);
    }
    if (!describe_level(kernels, planes, features)) continue;
    const std::int64_t bands = (features.rows + kTileRows - 1) / kTileRows;
    for (std::int64_t band = 0; band < bands; ++band) {
      const std::int64_t first = band * features.rows / bands;
      const std::int64_t end = (band + 1) * features.rows / bands;
      for (std::int64_t column = 0; column < features.columns; column += lanes)
        search_tile(level, first, end - first, column);
    }
  }
  std::sort(hits.begin(), hits.end(), [](const HogHit& a, const HogHit& b) {
    return std::tie(a.level, a.part, a.row, a.column) < std::tie(b.level, b.part, b.row, b.column);
  });
  return hits;
}

}  // namespace fastface
