// AVX-512 (F, BW, DQ, VL): a 12 x 32 register tile.  Shared by the files that add to it.
#pragma once

#include <immintrin.h>

#include "cpu/codes.hpp"
#include "cpu/fill_table.hpp"
#include "cpu/isa/avx512_groups.hpp"

namespace fastface {
namespace {

constexpr int kRows = 12;
constexpr int kWidth = 32;

struct Simd {
  using Doubles = __m512d;
  static constexpr int kDoubles = 8;
  static Doubles zero() { return _mm512_setzero_pd(); }
  static Doubles splat(double x) { return _mm512_set1_pd(x); }
  static Doubles load(const double* x) { return _mm512_loadu_pd(x); }
  static Doubles load(const float* x) { return _mm512_cvtps_pd(_mm256_loadu_ps(x)); }
  static Doubles load(const Half* x) {
    return _mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x))));
  }
  static void store(double* to, Doubles x) { _mm512_storeu_pd(to, x); }
  static void store_narrow(float* to, Doubles x) { _mm256_storeu_ps(to, _mm512_cvtpd_ps(x)); }
  static Doubles add(Doubles a, Doubles b) { return _mm512_add_pd(a, b); }
  static Doubles sub(Doubles a, Doubles b) { return _mm512_sub_pd(a, b); }
  static Doubles mul(Doubles a, Doubles b) { return _mm512_mul_pd(a, b); }
  static double reduce(const Doubles (&lanes)[2]) {
    const __m512d eight = _mm512_add_pd(lanes[0], lanes[1]);
    const __m256d four =
        _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
};

template <int kTile>
struct Accumulators {
  __m512 at[kTile][2];
};

// acc[r] = <row r, candidate c> for the 32 candidates of a panel: one chain of fused multiply-adds
// in increasing order of features.  Rows are addressed in groups of three off one pointer (x86 adds
// a multiple of the stride for free), so that they need no interleaved copy.
template <int kTile>
inline __attribute__((always_inline)) void multiply(const float* rows, std::int64_t stride,
                                                    const float* panel, std::int64_t dim,
                                                    Accumulators<kTile>& acc) {
#pragma GCC unroll 12
  for (int r = 0; r < kTile; ++r) acc.at[r][0] = acc.at[r][1] = _mm512_setzero_ps();
  constexpr int kGroups = (kTile + 2) / 3;
  const float* group[kGroups];
#pragma GCC unroll 4
  for (int g = 0; g < kGroups; ++g) group[g] = rows + 3 * g * stride;
  for (std::int64_t d = 0; d < dim; d += kDimStep) {
#pragma GCC unroll 4
    for (int step = 0; step < kDimStep; ++step) {
      const __m512 left = _mm512_load_ps(panel + step * kWidth);
      const __m512 right = _mm512_load_ps(panel + step * kWidth + 16);
#pragma GCC unroll 12
      for (int r = 0; r < kTile; ++r) {
        const __m512 x = _mm512_set1_ps(group[r / 3][(r % 3) * stride + step]);
        acc.at[r][0] = _mm512_fmadd_ps(x, left, acc.at[r][0]);
        acc.at[r][1] = _mm512_fmadd_ps(x, right, acc.at[r][1]);
      }
    }
    panel += kDimStep * kWidth;
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; ++g) group[g] += kDimStep;
  }
}

// Whether a score is not below its threshold; NaN, which overflow can make, is not.
inline __mmask16 reaches(__m512 scores, __m512 threshold) {
  return _mm512_cmp_ps_mask(scores, threshold, _CMP_NLT_UQ);
}

inline std::uint32_t join(__mmask16 left, __mmask16 right) {
  return static_cast<std::uint32_t>(left) | static_cast<std::uint32_t>(right) << 16;
}

// Holds the scores of a tile against the bars of its rows; `errors` has one lane a row.
template <int kTile, bool kRaising>
inline __attribute__((always_inline)) std::uint32_t hold_to_bars(const ScoreTile& tile,
                                                                 __m512 errors,
                                                                 const Accumulators<kTile>& acc) {
  const __mmask16 lanes = (1u << kTile) - 1;
  alignas(64) float error[16];
  alignas(64) float threshold[16];
  _mm512_store_ps(error, errors);
  _mm512_store_ps(threshold, _mm512_sub_ps(_mm512_maskz_loadu_ps(lanes, tile.bars), errors));

  std::uint32_t reached = 0;
#pragma GCC unroll 12
  for (int r = 0; r < kTile; ++r) {
    // The maximum loses a NaN only to a number; where NaN occurs, thresholds are -infinity.
    const __m512 best = _mm512_max_ps(acc.at[r][0], acc.at[r][1]);
    reached |= std::uint32_t{reaches(best, _mm512_set1_ps(threshold[r])) != 0} << r;
  }
  if (reached == 0) return 0;

#pragma GCC unroll 12
  for (int r = 0; r < kTile; ++r) {
    _mm512_storeu_ps(tile.scores + r * kWidth, acc.at[r][0]);
    _mm512_storeu_ps(tile.scores + r * kWidth + 16, acc.at[r][1]);
  }
  for (std::uint32_t rows = reached; rows != 0; rows &= rows - 1) {
    const int r = __builtin_ctz(rows);
    const __m512 left = _mm512_loadu_ps(tile.scores + r * kWidth);
    const __m512 right = _mm512_loadu_ps(tile.scores + r * kWidth + 16);
    float limit = threshold[r];
    if (kRaising) {
      const float proven = _mm512_reduce_max_ps(_mm512_max_ps(left, right)) - error[r];
      const float bar = proven - (tile.slacks[r] + kBarSlack * __builtin_fabsf(proven));
      if (bar > tile.bars[r]) {
        tile.bars[r] = bar;
        limit = bar - error[r];
      }
    }
    tile.survivors[r] =
        join(reaches(left, _mm512_set1_ps(limit)), reaches(right, _mm512_set1_ps(limit)));
  }
  return reached;
}

template <int kTile>
inline __m512 load_lanes(const float* values) {
  return _mm512_maskz_loadu_ps((1u << kTile) - 1, values);
}

template <int kTile, bool kRaising>
std::uint32_t score_tile(const ScoreTile& tile) {
  Accumulators<kTile> acc;
  multiply<kTile>(tile.rows, tile.row_stride, tile.panel, tile.dim, acc);
  // Loaded only now: held through the loop above, they would cost registers it needs.
  const __m512 bias_left = _mm512_loadu_ps(tile.biases);
  const __m512 bias_right = _mm512_loadu_ps(tile.biases + 16);
#pragma GCC unroll 12
  for (int r = 0; r < kTile; ++r) {
    acc.at[r][0] = _mm512_sub_ps(acc.at[r][0], bias_left);
    acc.at[r][1] = _mm512_sub_ps(acc.at[r][1], bias_right);
  }
  const __m512 errors =
      _mm512_add_ps(_mm512_mul_ps(load_lanes<kTile>(tile.norms), _mm512_set1_ps(tile.slope)),
                    _mm512_set1_ps(tile.offset));
  return hold_to_bars<kTile, kRaising>(tile, errors, acc);
}

template <Metric kMetric>
inline __m512 finish(__m512 dots, __m512 row_term, __m512 column_terms, __mmask16& doubtful) {
  const auto below = [](__m512 value, __m512 limit) {
    return _mm512_cmp_ps_mask(value, limit, _CMP_NGE_UQ);
  };
  const __m512 huge = _mm512_set1_ps(kDoubtfulHuge);
  if constexpr (kMetric == Metric::kCosine) {
    const __m512 value = _mm512_sub_ps(_mm512_set1_ps(1.0f), dots);
    doubtful = below(value, _mm512_set1_ps(kDoubtfulCosine));
    return _mm512_min_ps(value, _mm512_set1_ps(2.0f));
  } else if constexpr (kMetric == Metric::kInnerProduct) {
    doubtful = below(huge, _mm512_abs_ps(dots));
    return _mm512_xor_ps(dots, _mm512_set1_ps(-0.0f));
  } else {
    const __m512 sum = _mm512_add_ps(row_term, column_terms);
    const __m512 value = _mm512_sub_ps(sum, _mm512_add_ps(dots, dots));
    const __m512 least = _mm512_max_ps(_mm512_mul_ps(sum, _mm512_set1_ps(kDoubtfulSquaredShare)),
                                       _mm512_set1_ps(kDoubtfulTiny));
    doubtful = below(value, least) | below(huge, sum);
    return kMetric == Metric::kEuclidean ? _mm512_sqrt_ps(value) : value;
  }
}

template <Metric kMetric>
void distance_tile(const DistanceTile& tile) {
  // On their way from memory while the products are summed.
  for (int r = 0; r < tile.n_rows; ++r)
    for (int c = 0; c < kWidth; c += 16) __builtin_prefetch(tile.out + r * tile.out_stride + c, 1);
  Accumulators<kRows> acc;
  multiply<kRows>(tile.rows, tile.row_stride, tile.panel, tile.dim, acc);
  const __m512 left_terms = _mm512_loadu_ps(tile.column_terms);
  const __m512 right_terms = _mm512_loadu_ps(tile.column_terms + 16);
  const std::uint32_t columns =
      tile.n_columns >= kWidth ? ~0u : (std::uint32_t{1} << tile.n_columns) - 1;
  const __mmask16 left = static_cast<__mmask16>(columns);
  const __mmask16 right = static_cast<__mmask16>(columns >> 16);
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    if (r < tile.n_rows) {
      const __m512 row_term = _mm512_set1_ps(tile.row_terms[r]);
      __mmask16 low, high;
      float* out = tile.out + r * tile.out_stride;
      _mm512_mask_storeu_ps(out, left, finish<kMetric>(acc.at[r][0], row_term, left_terms, low));
      _mm512_mask_storeu_ps(out + 16, right,
                            finish<kMetric>(acc.at[r][1], row_term, right_terms, high));
      tile.doubtful[r] = join(low, high) & columns;
    }
  }
}

inline KernelTable avx512_table() {
  KernelTable t{};
  t.name = "avx512";
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
  t.faces = avx512_face_kernels();
  fill_group_kernels(t);
  return t;
}

}  // namespace
}  // namespace fastface
