// AVX-512 with VNNI: tiles of 8-bit integers, four products and their sum in one instruction.
#include "cpu/isa/avx512.hpp"

namespace fastface {
namespace {

// acc += four products of unsigned `left` and signed `right` a lane.  GCC 12 copies the accumulator
// of the intrinsic around, and with 24 of them spills half to the stack.
inline __attribute__((always_inline)) void add_products(__m512i& acc, __m512i left, __m512i right) {
  asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(left), "v"(right));
}

// acc[r][c] = sum of row r times candidate c in integers: exact, for any dimension up to 2^16.
inline __attribute__((always_inline)) void multiply_int8(const Int8Tile& tile,
                                                         __m512i (&acc)[kRows][2]) {
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r)
    // The panel's integers stand 128 too high.
    acc[r][0] = acc[r][1] = _mm512_set1_epi32(-tile.row_offsets[r]);
  const std::int64_t stride = tile.row_stride;
  const std::int8_t* rows = tile.int8_rows;
  const std::int8_t* group[4] = {rows, rows + 3 * stride, rows + 6 * stride, rows + 9 * stride};
  const std::uint8_t* panel = tile.int8_panel;
  for (std::int64_t d = 0; d < tile.dim; d += 4) {
    const __m512i left = _mm512_load_si512(panel);
    const __m512i right = _mm512_load_si512(panel + 64);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      std::int32_t four;
      __builtin_memcpy(&four, group[r / 3] + (r % 3) * stride, sizeof four);
      const __m512i x = _mm512_set1_epi32(four);
      add_products(acc[r][0], left, x);
      add_products(acc[r][1], right, x);
    }
    panel += 4 * kWidth;
#pragma GCC unroll 4
    for (int g = 0; g < 4; ++g) group[g] += 4;
  }
}

template <bool kRaising>
std::uint32_t score_tile_int8(const Int8Tile& tile) {
  __m512i sums[kRows][2];
  multiply_int8(tile, sums);
  const __m512 bias_left = _mm512_loadu_ps(tile.biases);
  const __m512 bias_right = _mm512_loadu_ps(tile.biases + 16);
  const __m512 scale_left = _mm512_loadu_ps(tile.column_scales);
  const __m512 scale_right = _mm512_loadu_ps(tile.column_scales + 16);
  Accumulators<kRows> acc;
#pragma GCC unroll 12
  for (int r = 0; r < kRows; ++r) {
    const __m512 scale = _mm512_set1_ps(tile.row_scales[r]);
    acc.at[r][0] = _mm512_fmsub_ps(_mm512_cvtepi32_ps(sums[r][0]), _mm512_mul_ps(scale, scale_left),
                                   bias_left);
    acc.at[r][1] = _mm512_fmsub_ps(_mm512_cvtepi32_ps(sums[r][1]),
                                   _mm512_mul_ps(scale, scale_right), bias_right);
  }
  const __m512 errors =
      _mm512_fmadd_ps(load_lanes<kRows>(tile.norms), _mm512_set1_ps(tile.slope),
                      _mm512_fmadd_ps(load_lanes<kRows>(tile.residuals), _mm512_set1_ps(tile.reach),
                                      _mm512_set1_ps(tile.offset)));
  return hold_to_bars<kRows, kRaising>(tile, errors, acc);
}

// Left to itself, GCC 12 takes eight integers by way of a general register, which is slow.
inline __attribute__((always_inline)) __m512i repeat_four(const std::uint8_t* integers) {
  struct Four {
    std::uint8_t at[4];
  };
  __m512i result;
  asm("vpbroadcastd %1, %0" : "=v"(result) : "m"(*reinterpret_cast<const Four*>(integers)));
  return result;
}

std::uint32_t score_group_int8(const GroupTile& tile) {
  __m512i sums[kGroupRows];
  const __m512i starts = _mm512_loadu_si512(tile.starts);
#pragma GCC unroll 16
  for (int r = 0; r < kGroupRows; ++r) sums[r] = starts;
  const std::int8_t* panel = tile.int8_panel;
  for (std::int64_t d = 0; d < tile.dim; d += kGroupDimStep) {
    const __m512i first = _mm512_load_si512(panel);
    const __m512i second = _mm512_load_si512(panel + 64);
    const void* const* rows = reload(tile.rows);
#pragma GCC unroll 16
    for (int r = 0; r < kGroupRows; ++r) {
      const std::uint8_t* row = static_cast<const std::uint8_t*>(rows[r]) + d;
      add_products(sums[r], repeat_four(row), first);
      add_products(sums[r], repeat_four(row + 4), second);
    }
    panel += kGroupDimStep * kGroupWidth;
  }
  const __m512 biases = _mm512_loadu_ps(tile.biases);
  const __m512 scales = _mm512_loadu_ps(tile.column_scales);
  __m512 scores[kGroupRows];
#pragma GCC unroll 16
  for (int r = 0; r < kGroupRows; ++r) {
    const __m512 scale = _mm512_mul_ps(scales, _mm512_set1_ps(tile.records[r].scale));
    scores[r] = _mm512_fmsub_ps(_mm512_cvtepi32_ps(sums[r]), scale, biases);
  }
  return hold_group_to_bars(tile, scores);
}

Int8Row round_to_int8(const float* row, std::int64_t padded_dim, std::int8_t* out) {
  __m512 largest = _mm512_setzero_ps();
  const auto load = [&](std::int64_t j) {
    const __mmask16 lanes =
        padded_dim - j >= 16 ? 0xffff : static_cast<__mmask16>((1u << (padded_dim - j)) - 1);
    return _mm512_maskz_loadu_ps(lanes, row + j);
  };
  for (std::int64_t j = 0; j < padded_dim; j += 16)
    largest = _mm512_max_ps(largest, _mm512_abs_ps(load(j)));
  const float top = _mm512_reduce_max_ps(largest);
  // Too small to divide by: the row is all residual.
  const float scale = top > 1e-30f ? top / 127.0f : 0.0f;
  const __m512 inverse = _mm512_set1_ps(scale > 0.0f ? 1.0f / scale : 0.0f);
  const __m512 minus_scale = _mm512_set1_ps(-scale);
  __m512 squares = _mm512_setzero_ps();
  __m512i total = _mm512_setzero_si512();
  for (std::int64_t j = 0; j < padded_dim; j += 16) {
    const __m512 x = load(j);
    const __m512i integers = _mm512_cvtps_epi32(_mm512_mul_ps(x, inverse));
    const __m512 residual = _mm512_fmadd_ps(_mm512_cvtepi32_ps(integers), minus_scale, x);
    squares = _mm512_fmadd_ps(residual, residual, squares);
    total = _mm512_add_epi32(total, integers);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + j), _mm512_cvtsepi32_epi8(integers));
  }
  const float residual = _mm512_cvtss_f32(
      _mm512_sqrt_ps(_mm512_castps128_ps512(_mm_set_ss(_mm512_reduce_add_ps(squares)))));
  return {scale, residual * 1.001f + 1e-20f, 128 * _mm512_reduce_add_epi32(total)};
}

void code_dots_vnni(const std::int8_t* query, const std::int8_t* rows, std::int64_t stride,
                    const std::int32_t* index, std::int64_t count, std::int32_t* out) {
  const __m512i high = _mm512_set1_epi8(-128);
  code_dots_with(query, rows, stride, index, count, out,
                 [&](const std::int8_t* x, const std::int8_t* y, std::int64_t size) {
                   // One operand has to be unsigned: x + 128, less 128 times the sum of y.
                   __m512i sum = _mm512_setzero_si512();
                   __m512i surplus = _mm512_setzero_si512();
                   for (std::int64_t j = 0; j < size; j += kCodeStep) {
                     const __m512i right = _mm512_loadu_si512(y + j);
                     add_products(sum, _mm512_xor_si512(_mm512_loadu_si512(x + j), high), right);
                     add_products(surplus, high, right);
                   }
                   return _mm512_reduce_add_epi32(_mm512_sub_epi32(sum, surplus));
                 });
}

}  // namespace

const KernelTable* avx512_vnni_kernels() {
  static const KernelTable table = [] {
    KernelTable t = avx512_table();
    t.name = "avx512_vnni";
    t.score_tile_int8 = score_tile_int8<false>;
    t.score_tile_int8_raising = score_tile_int8<true>;
    t.score_group_int8 = score_group_int8;
    t.code_dots = code_dots_vnni;
    t.round_to_int8 = round_to_int8;
    return t;
  }();
  return &table;
}

}  // namespace fastface
