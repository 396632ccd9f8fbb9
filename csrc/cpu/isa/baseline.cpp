// Plain C++ that any compiler vectorises for its own baseline (SSE2 on x86-64, NEON on Arm).
#include <cmath>
#include <cstring>

#include "cpu/codes.hpp"
#include "cpu/fill_table.hpp"
#include "cpu/groups.hpp"

namespace fastface {
namespace {

constexpr int kRows = 4;
constexpr int kWidth = 8;
constexpr float kInfinity = __builtin_inff();

template <typename T, int kSize>
struct Pack {
  T at[kSize];
};

template <typename P, typename Operation>
inline P each(const P& a, const P& b, const Operation& operation) {
  P result;
  for (unsigned i = 0; i < sizeof(P) / sizeof(a.at[0]); ++i)
    result.at[i] = operation(a.at[i], b.at[i]);
  return result;
}

inline float widen(Half half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half.bits & 0x8000u) << 16;
  const std::uint32_t exponent = (half.bits >> 10) & 0x1fu;
  const std::uint32_t mantissa = half.bits & 0x3ffu;
  if (exponent == 0) {  // zero and subnormals: exact in float32
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  const std::uint32_t wide = exponent == 31 ? (0xffu << 23) | (mantissa << 13)
                                            : ((exponent + 112) << 23) | (mantissa << 13);
  const std::uint32_t bits = sign | wide;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline float widen(float value) { return value; }
inline double widen(double value) { return value; }

struct Simd {
  static constexpr int kDoubles = 4;
  using Doubles = Pack<double, kDoubles>;
  static Doubles zero() { return {}; }
  static Doubles splat(double x) { return {{x, x, x, x}}; }
  template <typename X>
  static Doubles load(const X* x) {
    return {{widen(x[0]), widen(x[1]), widen(x[2]), widen(x[3])}};
  }
  static void store(double* to, const Doubles& x) { copy_some(x.at, kDoubles, to); }
  static void store_narrow(float* to, const Doubles& x) {
    for (int i = 0; i < kDoubles; ++i) to[i] = static_cast<float>(x.at[i]);
  }
  static Doubles add(const Doubles& a, const Doubles& b) {
    return each(a, b, [](double x, double y) { return x + y; });
  }
  static Doubles sub(const Doubles& a, const Doubles& b) {
    return each(a, b, [](double x, double y) { return x - y; });
  }
  static Doubles mul(const Doubles& a, const Doubles& b) {
    return each(a, b, [](double x, double y) { return x * y; });
  }
  static double reduce(const Doubles (&lanes)[4]) {
    const Doubles four = add(add(lanes[0], lanes[2]), add(lanes[1], lanes[3]));
    return (four.at[0] + four.at[2]) + (four.at[1] + four.at[3]);
  }
};

template <int kTile, bool kRaising>
std::uint32_t score_tile(const ScoreTile& tile) {
  float acc[kTile][kWidth] = {};
  for (std::int64_t d = 0; d < tile.dim; ++d)
    for (int r = 0; r < kTile; ++r)
      for (int c = 0; c < kWidth; ++c)
        acc[r][c] += tile.rows[r * tile.row_stride + d] * tile.panel[d * kWidth + c];
  std::uint32_t reached = 0;
  for (int r = 0; r < kTile; ++r) {
    const float error = tile.norms[r] * tile.slope + tile.offset;
    float* scores = tile.scores + r * kWidth;
    float best = -kInfinity;
    for (int c = 0; c < kWidth; ++c) {
      scores[c] = acc[r][c] - tile.biases[c];
      best = scores[c] > best ? scores[c] : best;
    }
    if (kRaising) {
      const float proven = best - error;
      const float bar = proven - (tile.slacks[r] + kBarSlack * __builtin_fabsf(proven));
      if (bar > tile.bars[r]) tile.bars[r] = bar;
    }
    // Not "is at least": NaN, which overflow can make, has to survive.
    const float threshold = tile.bars[r] - error;
    std::uint32_t mask = 0;
    for (int c = 0; c < kWidth; ++c)
      mask |= static_cast<std::uint32_t>(!(scores[c] < threshold)) << c;
    tile.survivors[r] = mask;
    reached |= std::uint32_t{mask != 0} << r;
  }
  return reached;
}

std::uint32_t score_group(const GroupTile& tile) {
  float scores[kRows][kWidth] = {};
  for (std::int64_t d = 0; d < tile.dim; ++d)
    for (int r = 0; r < kRows; ++r)
      for (int c = 0; c < kWidth; ++c)
        scores[r][c] += static_cast<const float*>(tile.rows[r])[d] * tile.panel[d * kWidth + c];
  for (int r = 0; r < kRows; ++r)
    for (int c = 0; c < kWidth; ++c) scores[r][c] -= tile.biases[c];
  return hold_group_to_bars(tile, scores);
}

template <Metric kMetric>
inline float finish(float dot, float row_term, float column_term, bool& doubtful) {
  if constexpr (kMetric == Metric::kCosine) {
    const float value = 1.0f - dot;
    doubtful = !(value >= kDoubtfulCosine);
    return value < 2.0f ? value : 2.0f;
  } else if constexpr (kMetric == Metric::kInnerProduct) {
    doubtful = !(kDoubtfulHuge >= __builtin_fabsf(dot));
    return -dot;
  } else {
    const float sum = row_term + column_term;
    const float value = sum - (dot + dot);
    const float share = sum * kDoubtfulSquaredShare;
    doubtful =
        !(value >= (share > kDoubtfulTiny ? share : kDoubtfulTiny)) || !(kDoubtfulHuge >= sum);
    return kMetric == Metric::kEuclidean ? __builtin_sqrtf(value) : value;
  }
}

template <Metric kMetric>
void distance_tile(const DistanceTile& tile) {
  for (int r = 0; r < tile.n_rows; ++r) {
    const float* row = tile.rows + r * tile.row_stride;
    std::uint32_t mask = 0;
    for (int c = 0; c < kWidth && c < tile.n_columns; ++c) {
      // fmaf is what makes these the bits of the other instruction sets, with or without hardware.
      float dot = 0.0f;
      for (std::int64_t d = 0; d < tile.dim; ++d)
        dot = fmaf(row[d], tile.panel[d * kWidth + c], dot);
      bool doubtful = false;
      tile.out[r * tile.out_stride + c] =
          finish<kMetric>(dot, tile.row_terms[r], tile.column_terms[c], doubtful);
      mask |= static_cast<std::uint32_t>(doubtful) << c;
    }
    tile.doubtful[r] = mask;
  }
}

}  // namespace

const KernelTable* baseline_kernels() {
  static const KernelTable table = [] {
    KernelTable t{};
    t.name = "baseline";
    t.tile_rows = kRows;
    t.panel_width = kWidth;
    t.score_tile = score_tile<kRows, false>;
    t.score_tile_raising = score_tile<kRows, true>;
    t.code_dots = code_dots;
    t.score_row = score_tile<1, false>;
    t.distance_tile[0] = distance_tile<Metric::kSquaredEuclidean>;
    t.distance_tile[1] = distance_tile<Metric::kEuclidean>;
    t.distance_tile[2] = distance_tile<Metric::kCosine>;
    t.distance_tile[3] = distance_tile<Metric::kInnerProduct>;
    fill_row_kernels<Simd>(t);
    t.faces = baseline_face_kernels();
    t.group_rows = kRows;
    t.group_width = kWidth;
    t.score_group = score_group;
    t.lift_row = lift_row;
    t.list_wanted = list_wanted;
    return t;
  }();
  return &table;
}

}  // namespace fastface
