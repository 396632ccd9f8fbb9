// AVX-512: groups of centers, 16 x 16 pairs a tile.  Shared by the files that add to it.
#pragma once

#include <immintrin.h>

#include "cpu/groups.hpp"

namespace fastface {
namespace {

constexpr int kGroupRows = 16;
constexpr int kGroupWidth = 16;

// Lane r is the largest lane of x[r].
inline __attribute__((always_inline)) __m512 maxima(const __m512 (&x)[kGroupRows]) {
  __m512 pairs[8], quads[4], halves[2];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i)
    pairs[i] = _mm512_max_ps(_mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]),
                             _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]));
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
    quads[i] = _mm512_max_ps(_mm512_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], 0x44),
                             _mm512_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], 0xee));
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i)
    halves[i] = _mm512_max_ps(_mm512_shuffle_f32x4(quads[2 * i], quads[2 * i + 1], 0x88),
                              _mm512_shuffle_f32x4(quads[2 * i], quads[2 * i + 1], 0xdd));
  return _mm512_max_ps(_mm512_shuffle_f32x4(halves[0], halves[1], 0x88),
                       _mm512_shuffle_f32x4(halves[0], halves[1], 0xdd));
}

// One field of 16 records.
template <int kField>
inline __m512 field(const __m512 (&records)[4]) {
  const __m512i pick =
      _mm512_setr_epi32(kField, kField + 4, kField + 8, kField + 12, kField + 16, kField + 20,
                        kField + 24, kField + 28, 0, 0, 0, 0, 0, 0, 0, 0);
  const __m512 low = _mm512_permutex2var_ps(records[0], pick, records[1]);
  const __m512 high = _mm512_permutex2var_ps(records[2], pick, records[3]);
  return _mm512_insertf32x8(low, _mm512_castps512_ps256(high), 1);
}

inline __attribute__((always_inline)) std::uint32_t hold_group_to_bars(
    const GroupTile& tile, const __m512 (&scores)[kGroupRows]) {
  const float* record = reinterpret_cast<const float*>(tile.records);
  const __m512 records[4] = {_mm512_loadu_ps(record), _mm512_loadu_ps(record + 16),
                             _mm512_loadu_ps(record + 32), _mm512_loadu_ps(record + 48)};
  const __m512 bars = field<3>(records);
  const __m512 errors = _mm512_fmadd_ps(
      field<1>(records), _mm512_set1_ps(tile.slope),
      _mm512_fmadd_ps(field<2>(records), _mm512_set1_ps(tile.reach), _mm512_set1_ps(tile.offset)));
  // Scores are numbers: rows that could overflow have no operands (Screen::load).
  const __m512 uppers = _mm512_add_ps(maxima(scores), errors);
  _mm512_storeu_ps(tile.uppers, uppers);
  const std::uint32_t reached = _mm512_cmp_ps_mask(uppers, bars, _CMP_NLT_UQ);
  if (reached == 0) return 0;

  alignas(64) float threshold[kGroupRows];
  _mm512_store_ps(threshold, _mm512_sub_ps(bars, errors));
#pragma GCC unroll 16
  for (int r = 0; r < kGroupRows; ++r) _mm512_storeu_ps(tile.scores + r * kGroupWidth, scores[r]);
  for (std::uint32_t rows = reached; rows != 0; rows &= rows - 1) {
    const int r = __builtin_ctz(rows);
    tile.survivors[r] = _mm512_cmp_ps_mask(_mm512_loadu_ps(tile.scores + r * kGroupWidth),
                                           _mm512_set1_ps(threshold[r]), _CMP_NLT_UQ);
  }
  return reached;
}

// Rows stand anywhere, and there are not registers enough for 16 addresses: loaded anew every few
// features they cost the units that multiply nothing, while moves from where a compiler would spill
// them to do.
inline __attribute__((always_inline)) const void* const* reload(const void* const* addresses) {
  asm("" : "+r"(addresses));
  return addresses;
}

std::uint32_t score_group(const GroupTile& tile) {
  __m512 scores[kGroupRows];
#pragma GCC unroll 16
  for (int r = 0; r < kGroupRows; ++r) scores[r] = _mm512_setzero_ps();
  const float* panel = tile.panel;
  for (std::int64_t d = 0; d < tile.dim; d += kGroupDimStep) {
    __m512 centers[kGroupDimStep];
#pragma GCC unroll 8
    for (int j = 0; j < kGroupDimStep; ++j) centers[j] = _mm512_load_ps(panel + j * kGroupWidth);
    const void* const* rows = reload(tile.rows);
#pragma GCC unroll 16
    for (int r = 0; r < kGroupRows; ++r) {
      const float* row = static_cast<const float*>(rows[r]) + d;
#pragma GCC unroll 8
      for (int j = 0; j < kGroupDimStep; ++j)
        scores[r] = _mm512_fmadd_ps(centers[j], _mm512_set1_ps(row[j]), scores[r]);
    }
    panel += kGroupDimStep * kGroupWidth;
  }
  const __m512 biases = _mm512_loadu_ps(tile.biases);
#pragma GCC unroll 16
  for (int r = 0; r < kGroupRows; ++r) scores[r] = _mm512_sub_ps(scores[r], biases);
  return hold_group_to_bars(tile, scores);
}

// 16 rows at a time: their masks of 16 groups, read the other way round, are masks of rows.
void list_wanted_512(const WantedRows& wanted) {
  const std::int64_t n_groups = wanted.n_groups;
  for (std::int64_t group = 0; group < n_groups; ++group) wanted.n_rows[group] = 0;
  __m512i numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (std::int64_t first = 0; first < wanted.count; first += 16) {
    const int n_rows = static_cast<int>(wanted.count - first < 16 ? wanted.count - first : 16);
    for (std::int64_t group = 0; group < n_groups; group += 16) {
      const int width = static_cast<int>(n_groups - group < 16 ? n_groups - group : 16);
      const auto exist = static_cast<__mmask16>((1u << width) - 1);
      alignas(32) std::uint16_t masks[16] = {};
      const float* uppers = wanted.uppers + first * n_groups + group;
      for (int r = 0; r < n_rows; ++r) {
        const __mmask16 asked = wanted.needs[first + r] != 0 ? exist : 0;
        masks[r] =
            _mm512_mask_cmp_ps_mask(asked, _mm512_maskz_loadu_ps(asked, uppers + r * n_groups),
                                    _mm512_set1_ps(wanted.records[first + r].bar), _CMP_NLT_UQ);
      }
      const __m256i rows = _mm256_load_si256(reinterpret_cast<const __m256i*>(masks));
      for (int g = 0; g < width; ++g) {
        const __mmask16 who =
            _mm256_test_epi16_mask(rows, _mm256_set1_epi16(static_cast<short>(1 << g)));
        std::int32_t& count = wanted.n_rows[group + g];
        // Compressed in a register: to memory it is slow on some machines.
        const __m512i listed = _mm512_maskz_compress_epi32(who, numbers);
        _mm256_storeu_si256(
            reinterpret_cast<__m256i*>(wanted.rows + (group + g) * wanted.capacity + count),
            _mm512_cvtepi32_epi16(listed));
        count += __builtin_popcount(who);
      }
    }
    numbers = _mm512_add_epi32(numbers, _mm512_set1_epi32(16));
  }
}

inline void fill_group_kernels(KernelTable& table) {
  table.group_rows = kGroupRows;
  table.group_width = kGroupWidth;
  table.score_group = score_group;
  table.lift_row = lift_row;
  table.list_wanted = list_wanted_512;
}

}  // namespace
}  // namespace fastface
