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

std::int32_t list_wanted_512(const float* uppers, const float* bars, std::int64_t count,
                             std::int32_t* rows) {
  std::int32_t n_rows = 0;
  __m512i numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (std::int64_t row = 0; row < count; row += 16) {
    const __mmask16 exist =
        count - row >= 16 ? 0xffff : static_cast<__mmask16>((1u << (count - row)) - 1);
    const __mmask16 wanted =
        _mm512_mask_cmp_ps_mask(exist, _mm512_maskz_loadu_ps(exist, uppers + row),
                                _mm512_maskz_loadu_ps(exist, bars + row), _CMP_NLT_UQ);
    // Compressed in a register: to memory it is slow on some machines.
    _mm512_storeu_si512(rows + n_rows, _mm512_maskz_compress_epi32(wanted, numbers));
    n_rows += __builtin_popcount(wanted);
    numbers = _mm512_add_epi32(numbers, _mm512_set1_epi32(16));
  }
  return n_rows;
}

inline void fill_group_kernels(KernelTable& table) {
  table.group_rows = kGroupRows;
  table.group_width = kGroupWidth;
  table.score_group = score_group;
  table.lift_bounds = lift_bounds;
  table.list_wanted = list_wanted_512;
}

}  // namespace
}  // namespace fastface
