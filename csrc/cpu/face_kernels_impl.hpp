// The kernels of face_kernels.hpp, compiled once per instruction set.
//
// Vectors are the compiler's own: operators on them become instructions of whatever width there is.
#pragma once

#include <cmath>
#include <cstring>

#include "cpu/face_kernels.hpp"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace fastface {
namespace {

template <typename T, int kLanes>
struct Vector {
  typedef T Type __attribute__((vector_size(sizeof(T) * kLanes)));
};

using Four = Vector<float, 4>::Type;

template <typename V>
inline __attribute__((always_inline)) V load(const float* from) {
  V value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename V>
inline __attribute__((always_inline)) void store(float* to, const V& value) {
  std::memcpy(to, &value, sizeof value);
}

// GCC 12 converts vectors of bytes one by one.
template <typename Ints>
inline __attribute__((always_inline)) Ints widen_bytes(const std::uint8_t* from) {
#if defined(__AVX512F__)
  if constexpr (sizeof(Ints) == 64)
    return (Ints)_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(Ints) == 32)
    return (Ints)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
#endif
#if defined(__SSE2__)
  if constexpr (sizeof(Ints) == 16) {
    std::int32_t four;
    std::memcpy(&four, from, sizeof four);
    const __m128i zero = _mm_setzero_si128();
    return (Ints)_mm_unpacklo_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128(four), zero), zero);
  }
#endif
  Ints wide;
  for (unsigned i = 0; i < sizeof wide / 4; ++i) wide[i] = from[i];
  return wide;
}

inline void split_colors(const std::uint8_t* rgb, std::int64_t n, std::uint8_t* __restrict red,
                         std::uint8_t* __restrict green, std::uint8_t* __restrict blue) {
  for (std::int64_t i = 0; i < n; ++i) {
    red[i] = rgb[3 * i];
    green[i] = rgb[3 * i + 1];
    blue[i] = rgb[3 * i + 2];
  }
}

inline void spread(const std::uint8_t* row, const std::int32_t* bases,
                   const std::uint8_t (*picks)[2 * kSpreadColumns], std::int64_t n_groups,
                   std::uint8_t* __restrict left, std::uint8_t* __restrict right) {
  for (std::int64_t g = 0; g < n_groups; ++g) {
    const std::uint8_t* from = row + bases[g];
#if defined(__SSSE3__)
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    const __m128i order = _mm_loadu_si128(reinterpret_cast<const __m128i*>(picks[g]));
    const __m128i both = _mm_shuffle_epi8(bytes, order);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(left + g * kSpreadColumns), both);
    _mm_storeh_pd(reinterpret_cast<double*>(right + g * kSpreadColumns), _mm_castsi128_pd(both));
#else
    for (int i = 0; i < kSpreadColumns; ++i) {
      left[g * kSpreadColumns + i] = from[picks[g][i]];
      right[g * kSpreadColumns + i] = from[picks[g][kSpreadColumns + i]];
    }
#endif
  }
}

inline void mix(const std::uint8_t* const rows[4], const float* right_shares, float down, float up,
                std::int64_t n, std::uint8_t* __restrict out) {
  const std::uint8_t *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3];
  for (std::int64_t i = 0; i < n; ++i) {
    const float right = right_shares[i];
    const float left = 1.0f - right;
    const float value =
        (up * left) * static_cast<float>(a[i]) + (up * right) * static_cast<float>(b[i]) +
        (down * left) * static_cast<float>(c[i]) + (down * right) * static_cast<float>(d[i]);
    out[i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(value));
  }
}

// Reads and writes up to kLanes - 1 pixels beyond the end.
template <int kLanes>
void measure_gradients(const GradientRow& row) {
  using Ints = typename Vector<std::int32_t, kLanes>::Type;
  using Floats = typename Vector<float, kLanes>::Type;
  const auto widen = widen_bytes<Ints>;
  Ints lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  for (std::int64_t x = 1; x < row.end; x += kLanes) {
    // Where two colors are as strong, dlib takes the later one of eight pixels at once, and the
    // earlier one of the few that are left over.  (True is -1.)
    const Ints tie =
        -(lane + static_cast<std::int32_t>(x) < static_cast<std::int32_t>(row.later_end));
    Ints best{}, dx{}, dy{};
    for (int color = 0; color < 3; ++color) {
      const Ints across = widen(row.here[color] + x + 1) - widen(row.here[color] + x - 1);
      const Ints along = widen(row.below[color] + x) - widen(row.above[color] + x);
      const Ints strength = across * across + along * along;
      const Ints stronger = strength + tie > best;
      best = stronger ? strength : best;
      dx = stronger ? across : dx;
      dy = stronger ? along : dy;
    }
    const Ints places = (dy + 255) * kGradientSpan + (dx + 255);
    std::memcpy(row.places + x, &places, sizeof places);
    Floats lengths = __builtin_convertvector(best, Floats);
    for (int i = 0; i < kLanes; ++i) lengths[i] = __builtin_sqrtf(lengths[i]);
    store(row.lengths + x, lengths);
  }
}

inline void bin_gradients(const GradientRow& row, const std::uint8_t* directions, float down,
                          const CellBand& band) {
  const float up = 1.0f - down;
  const Four vertical = {up, down, up, down};
  Four horizontal[kHogCell];
  for (int k = 0; k < kHogCell; ++k) {
    const float right = (static_cast<float>(k) + 0.5f) / kHogCell;
    horizontal[k] = Four{1.0f - right, 1.0f - right, right, right};
  }
  const auto add = [&](std::int64_t x, int k, float* cells) {
    // Left cell above, below; right cell above, below: they lie side by side.
    float* sums = cells + directions[row.places[x]] * band.stride;
    store(sums, load<Four>(sums) + vertical * (horizontal[k] * row.lengths[x]));
  };
  std::int64_t x = 1;
  for (; x < row.end && x < kHogCell / 2; ++x)
    add(x, static_cast<int>(x) + kHogCell / 2, band.sums);
  for (; x + kHogCell <= row.end; x += kHogCell) {
    float* cells = band.sums + (x + kHogCell / 2) / kHogCell * 2;
    for (int k = 0; k < kHogCell; ++k) add(x + k, k, cells);
  }
  for (int k = 0; x < row.end; ++x, ++k) add(x, k, band.sums + (x + kHogCell / 2) / kHogCell * 2);
}

template <int kLanes>
void describe(const CellRows& rows) {
  using V = typename Vector<float, kLanes>::Type;
  // Part k normalises by the block of four cells that ends, or begins, at the middle one.
  for (int k = 0; k < 4; ++k) {
    const float* upper = rows.energies[1 - (k & 1)] + 1 - (k >> 1);
    const float* lower = rows.energies[2 - (k & 1)] + 1 - (k >> 1);
    float* __restrict clips = rows.clips + k * rows.clip_stride;
    for (std::int64_t x = 0; x < rows.width; ++x)
      clips[x] =
          0.2f * __builtin_sqrtf(upper[x] + upper[x + 1] + lower[x] + lower[x + 1] + 0.0001f);
  }
  for (std::int64_t x = 0; x < rows.width; x += kLanes) {
    V clips[4], factors[4], textures[4];
    for (int k = 0; k < 4; ++k) {
      clips[k] = load<V>(rows.clips + k * rows.clip_stride + x);
      factors[k] = 0.1f / clips[k];
      textures[k] = V{};
    }
    const std::int64_t count = rows.width - x < kLanes ? rows.width - x : kLanes;
    const auto write = [&](int plane, const V& value) {
      float* to = rows.features + plane * rows.plane_stride + x;
      if (count == kLanes)
        store(to, value);
      else
        std::memcpy(to, &value, static_cast<std::size_t>(count) * sizeof(float));
    };
    const auto at = [&](int o) { return load<V>(rows.histogram + o * rows.histogram_stride + x); };
    const auto normal = [&](const V& v, int k) -> V {
      return (v < clips[k] ? v : clips[k]) * factors[k];
    };
    for (int o = 0; o < kHogBins; ++o) {
      const V v = at(o);
      const V h0 = normal(v, 0), h1 = normal(v, 1), h2 = normal(v, 2), h3 = normal(v, 3);
      write(o, (h0 + h1) + (h2 + h3));
      textures[0] += h0;
      textures[1] += h1;
      textures[2] += h2;
      textures[3] += h3;
    }
    for (int o = 0; o < kHogBins / 2; ++o) {
      const V v = at(o) + at(o + kHogBins / 2);
      write(kHogBins + o, (normal(v, 0) + normal(v, 1)) + (normal(v, 2) + normal(v, 3)));
    }
    for (int k = 0; k < 4; ++k) write(27 + k, textures[k] * (2 * 0.2357f));
  }
}

// Ten products, summed as dlib sums them: every third one after the other.
template <typename V, typename Load>
inline __attribute__((always_inline)) V weigh(const Load& at, const V (&weights)[kHogTaps]) {
  const V first =
      ((at(0) * weights[0] + at(3) * weights[3]) + at(6) * weights[6]) + at(9) * weights[9];
  const V second = (at(1) * weights[1] + at(4) * weights[4]) + at(7) * weights[7];
  const V third = (at(2) * weights[2] + at(5) * weights[5]) + at(8) * weights[8];
  return first + (second + third);
}

template <typename V>
inline __attribute__((always_inline)) void splat(const float* from, V (&weights)[kHogTaps]) {
  for (int i = 0; i < kHogTaps; ++i) weights[i] = from[i] - V{};
}

template <int kLanes, int kTogether>
void filter(const FilterTile& tile) {
  using V = typename Vector<float, kLanes>::Type;
  for (std::int64_t n = 0; n < tile.n_filters; ++n) {
    const SeparableFilter& f = tile.filters[n];
    const float* source = tile.features + f.plane * tile.plane_stride;
    float* scratch = tile.scratch;
    V weights[kHogTaps];
    splat(f.row, weights);
    for (std::int64_t r = 0; r < tile.n_rows + kHogTaps - 1; ++r) {
      const float* row = source + r * tile.row_stride;
      store(scratch + r * kLanes, weigh([&](int i) { return load<V>(row + i); }, weights));
    }
    splat(f.column, weights);
    float* out = tile.responses + f.part * tile.part_stride;
    for (std::int64_t r = 0; r < tile.n_rows; r += kTogether) {
      V rows[kTogether + kHogTaps - 1];
      for (int i = 0; i < kTogether + kHogTaps - 1; ++i)
        rows[i] = load<V>(scratch + (r + i) * kLanes);
      for (int i = 0; i < kTogether; ++i) {
        float* to = out + (r + i) * kLanes;
        store(to, load<V>(to) + weigh([&](int tap) { return rows[i + tap]; }, weights));
      }
    }
  }
}

template <int kLanes, int kTogether>
FaceKernels make_face_kernels() {
  return {kLanes,
          split_colors,
          spread,
          mix,
          measure_gradients<kLanes>,
          bin_gradients,
          describe<kLanes>,
          filter<kLanes, kTogether>};
}

}  // namespace
}  // namespace fastface
