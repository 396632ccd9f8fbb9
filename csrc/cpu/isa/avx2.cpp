// AVX2 with fused multiply-add and half precision: a 6 x 16 register tile.
#include <immintrin.h>

#include "cpu/codes.hpp"
#include "cpu/fill_table.hpp"
#include "cpu/groups.hpp"

namespace fastface {
namespace {

constexpr int kRows = 6;
constexpr int kWidth = 16;

struct Simd {
  using Doubles = __m256d;
  static constexpr int kDoubles = 4;
  static Doubles zero() { return _mm256_setzero_pd(); }
  static Doubles splat(double x) { return _mm256_set1_pd(x); }
  static Doubles load(const double* x) { return _mm256_loadu_pd(x); }
  static Doubles load(const float* x) { return _mm256_cvtps_pd(_mm_loadu_ps(x)); }
  static Doubles load(const Half* x) {
    return _mm256_cvtps_pd(_mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x))));
  }
  static void store(double* to, Doubles x) { _mm256_storeu_pd(to, x); }
  static void store_narrow(float* to, Doubles x) { _mm_storeu_ps(to, _mm256_cvtpd_ps(x)); }
  static Doubles add(Doubles a, Doubles b) { return _mm256_add_pd(a, b); }
  static Doubles sub(Doubles a, Doubles b) { return _mm256_sub_pd(a, b); }
  static Doubles mul(Doubles a, Doubles b) { return _mm256_mul_pd(a, b); }
  static double reduce(const Doubles (&lanes)[4]) {
    const __m256d low = _mm256_add_pd(lanes[0], lanes[2]);
    const __m256d high = _mm256_add_pd(lanes[1], lanes[3]);
    const __m256d four = _mm256_add_pd(low, high);
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
};

template <int kTile>
struct Accumulators {
  __m256 at[kTile][2];
};

// acc += a * b.  With 12 accumulators in 16 registers GCC 12, left to choose the form, spills some.
inline __attribute__((always_inline)) void add_product(__m256& acc, __m256 a, __m256 b) {
  asm("vfmadd231ps %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b));
}

// As in avx512.hpp: one chain of fused multiply-adds in increasing order of features.
template <int kTile>
inline __attribute__((always_inline)) void multiply(const float* rows, std::int64_t stride,
                                                    const float* panel, std::int64_t dim,
                                                    Accumulators<kTile>& acc) {
#pragma GCC unroll 6
  for (int r = 0; r < kTile; ++r) acc.at[r][0] = acc.at[r][1] = _mm256_setzero_ps();
  const float* group[2] = {rows, kTile > 3 ? rows + 3 * stride : rows};
  for (std::int64_t d = 0; d < dim; d += kDimStep) {
#pragma GCC unroll 4
    for (int step = 0; step < kDimStep; ++step) {
      const __m256 left = _mm256_load_ps(panel + step * kWidth);
      const __m256 right = _mm256_load_ps(panel + step * kWidth + 8);
#pragma GCC unroll 6
      for (int r = 0; r < kTile; ++r) {
        const __m256 x = _mm256_broadcast_ss(group[r / 3] + (r % 3) * stride + step);
        add_product(acc.at[r][0], x, left);
        add_product(acc.at[r][1], x, right);
      }
    }
    panel += kDimStep * kWidth;
    group[0] += kDimStep;
    group[1] += kDimStep;
  }
}

// Whether a score is not below its threshold; NaN, which overflow can make, is not.
inline __m256 reaches(__m256 scores, __m256 threshold) {
  return _mm256_cmp_ps(scores, threshold, _CMP_NLT_UQ);
}

inline std::uint32_t join(__m256 left, __m256 right) {
  return static_cast<std::uint32_t>(_mm256_movemask_ps(left) | _mm256_movemask_ps(right) << 8);
}

inline float largest(__m256 x) {
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_shuffle_ps(four, four, 1)));
}

template <int kTile, bool kRaising>
std::uint32_t score_tile(const ScoreTile& tile) {
  Accumulators<kTile> acc;
  multiply<kTile>(tile.rows, tile.row_stride, tile.panel, tile.dim, acc);
  // Loaded only now: held through the loop above, they would cost registers it needs.
  float error[kTile];
  float threshold[kTile];
  for (int r = 0; r < kTile; ++r) {
    error[r] = tile.norms[r] * tile.slope + tile.offset;
    threshold[r] = tile.bars[r] - error[r];
  }
  const __m256 bias_left = _mm256_loadu_ps(tile.biases);
  const __m256 bias_right = _mm256_loadu_ps(tile.biases + 8);
  std::uint32_t reached = 0;
#pragma GCC unroll 6
  for (int r = 0; r < kTile; ++r) {
    acc.at[r][0] = _mm256_sub_ps(acc.at[r][0], bias_left);
    acc.at[r][1] = _mm256_sub_ps(acc.at[r][1], bias_right);
    // The maximum loses a NaN only to a number; where NaN occurs, thresholds are -infinity.
    const __m256 best = _mm256_max_ps(acc.at[r][0], acc.at[r][1]);
    const int mask = _mm256_movemask_ps(reaches(best, _mm256_broadcast_ss(threshold + r)));
    reached |= std::uint32_t{mask != 0} << r;
  }
  if (reached == 0) return 0;

#pragma GCC unroll 6
  for (int r = 0; r < kTile; ++r) {
    _mm256_storeu_ps(tile.scores + r * kWidth, acc.at[r][0]);
    _mm256_storeu_ps(tile.scores + r * kWidth + 8, acc.at[r][1]);
  }
  for (std::uint32_t rows = reached; rows != 0; rows &= rows - 1) {
    const int r = __builtin_ctz(rows);
    const __m256 left = _mm256_loadu_ps(tile.scores + r * kWidth);
    const __m256 right = _mm256_loadu_ps(tile.scores + r * kWidth + 8);
    float limit = threshold[r];
    if (kRaising) {
      const float proven = largest(_mm256_max_ps(left, right)) - error[r];
      const float bar = proven - (tile.slacks[r] + kBarSlack * __builtin_fabsf(proven));
      if (bar > tile.bars[r]) {
        tile.bars[r] = bar;
        limit = bar - error[r];
      }
    }
    tile.survivors[r] =
        join(reaches(left, _mm256_set1_ps(limit)), reaches(right, _mm256_set1_ps(limit)));
  }
  return reached;
}

std::uint32_t score_group(const GroupTile& tile) {
  Accumulators<kRows> acc;
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) acc.at[r][0] = acc.at[r][1] = _mm256_setzero_ps();
  const float* row[kRows];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) row[r] = static_cast<const float*>(tile.rows[r]);
  for (std::int64_t d = 0; d < tile.dim; d += kDimStep) {
#pragma GCC unroll 4
    for (int step = 0; step < kDimStep; ++step) {
      const __m256 left = _mm256_load_ps(tile.panel + (d + step) * kWidth);
      const __m256 right = _mm256_load_ps(tile.panel + (d + step) * kWidth + 8);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        const __m256 x = _mm256_broadcast_ss(row[r] + d + step);
        add_product(acc.at[r][0], x, left);
        add_product(acc.at[r][1], x, right);
      }
    }
  }
  const __m256 bias_left = _mm256_loadu_ps(tile.biases);
  const __m256 bias_right = _mm256_loadu_ps(tile.biases + 8);
  std::uint32_t reached = 0;
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    const __m256 first = _mm256_sub_ps(acc.at[r][0], bias_left);
    const __m256 second = _mm256_sub_ps(acc.at[r][1], bias_right);
    const RowRecord& record = tile.records[r];
    const float error = record.norm * tile.slope + tile.offset;
    // Scores are numbers: rows that could overflow have no operands (Screen::load).
    const float upper = largest(_mm256_max_ps(first, second)) + error;
    tile.uppers[r] = upper;
    if (!(upper < record.bar)) {
      reached |= std::uint32_t{1} << r;
      _mm256_storeu_ps(tile.scores + r * kWidth, first);
      _mm256_storeu_ps(tile.scores + r * kWidth + 8, second);
      const __m256 threshold = _mm256_set1_ps(record.bar - error);
      tile.survivors[r] = join(reaches(first, threshold), reaches(second, threshold));
    }
  }
  return reached;
}

template <Metric kMetric>
inline __m256 finish(__m256 dots, __m256 row_term, __m256 column_terms, __m256& doubtful) {
  const auto below = [](__m256 value, __m256 limit) {
    return _mm256_cmp_ps(value, limit, _CMP_NGE_UQ);
  };
  const __m256 huge = _mm256_set1_ps(kDoubtfulHuge);
  const __m256 sign = _mm256_set1_ps(-0.0f);
  if constexpr (kMetric == Metric::kCosine) {
    const __m256 value = _mm256_sub_ps(_mm256_set1_ps(1.0f), dots);
    doubtful = below(value, _mm256_set1_ps(kDoubtfulCosine));
    return _mm256_min_ps(value, _mm256_set1_ps(2.0f));
  } else if constexpr (kMetric == Metric::kInnerProduct) {
    doubtful = below(huge, _mm256_andnot_ps(sign, dots));
    return _mm256_xor_ps(dots, sign);
  } else {
    const __m256 sum = _mm256_add_ps(row_term, column_terms);
    const __m256 value = _mm256_sub_ps(sum, _mm256_add_ps(dots, dots));
    const __m256 least = _mm256_max_ps(_mm256_mul_ps(sum, _mm256_set1_ps(kDoubtfulSquaredShare)),
                                       _mm256_set1_ps(kDoubtfulTiny));
    doubtful = _mm256_or_ps(below(value, least), below(huge, sum));
    return kMetric == Metric::kEuclidean ? _mm256_sqrt_ps(value) : value;
  }
}

template <Metric kMetric>
void distance_tile(const DistanceTile& tile) {
  // On their way from memory while the products are summed.
  for (int r = 0; r < tile.n_rows; ++r)
    for (int c = 0; c < kWidth; c += 16) __builtin_prefetch(tile.out + r * tile.out_stride + c, 1);
  Accumulators<kRows> acc;
  multiply<kRows>(tile.rows, tile.row_stride, tile.panel, tile.dim, acc);
  const __m256 left_terms = _mm256_loadu_ps(tile.column_terms);
  const __m256 right_terms = _mm256_loadu_ps(tile.column_terms + 8);
  const bool whole = tile.n_columns >= kWidth;
  const std::uint32_t columns = whole ? ~0u : (std::uint32_t{1} << tile.n_columns) - 1;
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    if (r < tile.n_rows) {
      const __m256 row_term = _mm256_broadcast_ss(tile.row_terms + r);
      __m256 low, high;
      const __m256 left = finish<kMetric>(acc.at[r][0], row_term, left_terms, low);
      const __m256 right = finish<kMetric>(acc.at[r][1], row_term, right_terms, high);
      float* out = tile.out + r * tile.out_stride;
      if (whole) {
        _mm256_storeu_ps(out, left);
        _mm256_storeu_ps(out + 8, right);
      } else {
        float values[kWidth];
        _mm256_storeu_ps(values, left);
        _mm256_storeu_ps(values + 8, right);
        copy_some(values, tile.n_columns, out);
      }
      tile.doubtful[r] = join(low, high) & columns;
    }
  }
}

}  // namespace

const KernelTable* avx2_kernels() {
  static const KernelTable table = [] {
    KernelTable t{};
    t.name = "avx2";
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
    t.faces = avx2_face_kernels();
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
