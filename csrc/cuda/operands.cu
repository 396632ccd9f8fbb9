// Rows brought to the form that tiles score: shifted, scaled, rounded to the operand's type, padded
// with zeros, and told about (RowFacts).
//
// Compiled with X_TYPE (storage of the rows) and OPERAND.
#include "definition.cuh"
#include "screen.cuh"

#define OPERAND_FLOAT32 0
#define OPERAND_BF16 1
#define OPERAND_TF32 2

typedef StorageType<X_TYPE>::type X;

namespace {

constexpr int kRowsPerBlock = 16;  // half a warp a row
constexpr i64 kSampledRows = 256;
constexpr double kLargestSquare = 1e300;  // of the norms that kernels work with

#if OPERAND == OPERAND_BF16
typedef u16 Operand;
__device__ __forceinline__ Operand round_operand(float value, float& rounded) {
  const u32 bits = static_cast<u32>(__float_as_int(value));
  const u32 kept = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;  // ties to even
  rounded = __int_as_float(static_cast<int>(kept << 16));
  return static_cast<u16>(kept);
}
#elif OPERAND == OPERAND_TF32
typedef float Operand;
__device__ __forceinline__ Operand round_operand(float value, float& rounded) {
  const u32 bits = static_cast<u32>(__float_as_int(value));
  rounded = __int_as_float(static_cast<int>((bits + 0x1000u) & 0xffffe000u));
  return rounded;
}
#else
typedef float Operand;
__device__ __forceinline__ Operand round_operand(float value, float& rounded) {
  rounded = value;
  return value;
}
#endif

// The power of two that brings `norm` near one.
__device__ __forceinline__ double scale_for(double norm) {
  if (norm == 0.0) return 1.0;
  const int exponent = static_cast<int>((__double_as_longlong(norm) >> 52) & 0x7ff) - 1023;
  const int clamped = exponent < -400 ? 400 : exponent > 400 ? -400 : -exponent;
  return __longlong_as_double(static_cast<i64>(1023 + clamped) << 52);
}

__device__ __forceinline__ double shift_at(const double* shift, int j) {
  return shift == nullptr ? 0.0 : shift[j];
}

__device__ __forceinline__ double square_lane(const X* row, const double* shift, int dim) {
  double sum = 0.0;
  for (int j = threadIdx.x % kSumLanes; j < dim; j += kSumLanes) {
    const double value = widen(row[j]) - shift_at(shift, j);
    sum = sum + value * value;
  }
  return sum;
}

}  // namespace

// The mean of some of the rows, which takes away what all of them share; any shift would be right.
extern "C" __global__ void __launch_bounds__(128)
    sample_mean(const X* x, i64 stride, i64 n_rows, int dim, double* shift) {
  const int j = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (j >= dim) return;
  const i64 step = n_rows / kSampledRows > 1 ? n_rows / kSampledRows : 1;
  double sum = 0.0;
  i64 count = 0;
  for (i64 i = 0; i < n_rows; i += step, ++count) sum = sum + widen(x[i * stride + j]);
  shift[j] = sum / static_cast<double>(count);
}

// Raises `largest`, the bits of a float64, to the largest squared norm of a shifted row.
extern "C" __global__ void __launch_bounds__(256)
    largest_square(const X* x, i64 stride, i64 n_rows, int dim, const double* shift, u64* largest) {
  const i64 i = static_cast<i64>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kSumLanes;
  const bool exists = i < n_rows;
  const X* row = x + (exists ? i : 0) * stride;
  const double square = sum_lanes(square_lane(row, shift, exists ? dim : 0));
  if (threadIdx.x % kSumLanes == 0 && square > 0.0) raise(largest, square);
}

// Packs rows, or those that `list` names.  Candidates are scaled by one power of two for all
// (`largest`), by their norm for cosine; queries by a power of two of their own where the metric
// allows.  With `terms`, rows of a whole matrix of distances: never blinded, and terms are their
// squared norms as rounded.
extern "C" __global__ void __launch_bounds__(256)
    pack_rows(const X* x, i64 stride, const int* list, i64 n_rows, int dim, int padded_dim,
              int metric, int is_candidate, const double* shift, const u64* largest, void* out,
              RowFacts* facts, float* biases, float* terms, float* bounds, int* error_word) {
  const i64 i = static_cast<i64>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kSumLanes;
  const int lane = threadIdx.x % kSumLanes;
  const bool exists = i < n_rows;
  const i64 source = !exists ? 0 : list == nullptr ? i : static_cast<i64>(list[i]);
  const X* row = x + source * stride;
  const int own_dim = exists ? dim : 0;

  const double own_square = sum_lanes(square_lane(row, nullptr, own_dim));
  const bool bad = !(own_square <= kLargestSquare);
  const double own_norm = metric == kCosine ? cosine_norm(own_square) : 0.0;

  double scale = 1.0;
  if (metric == kCosine && is_candidate != 0) {
    scale = own_norm > 0.0 ? 1.0 / own_norm : 0.0;
  } else if (metric == kCosine) {
    scale = own_norm > 0.0 ? scale_for(own_norm) : 0.0;  // as far from everybody
  } else if (metric == kInnerProduct && is_candidate == 0) {
    scale = scale_for(sqrt(own_square));
  } else if (largest != nullptr) {
    scale = scale_for(sqrt(__longlong_as_double(static_cast<i64>(*largest))));
  }

  double square_part = 0.0;
  for (int j = lane; j < own_dim; j += kSumLanes) {
    const double value = (widen(row[j]) - shift_at(shift, j)) * scale;
    square_part = square_part + value * value;
  }
  const double squares = sum_lanes(square_part);
  const bool blind = terms == nullptr && !(squares <= kBlindNorm * kBlindNorm);

  Operand* target = static_cast<Operand*>(out) + i * padded_dim;
  double residual_part = 0.0;
  double term_part = 0.0;
  for (int j = lane; j < padded_dim; j += kSumLanes) {
    double value = 0.0;
    if (j < own_dim && !blind) value = (widen(row[j]) - shift_at(shift, j)) * scale;
    float rounded;
    target[j] = round_operand(__double2float_rn(value), rounded);
    const double lost = value - widen(rounded);
    residual_part = residual_part + lost * lost;
    term_part = term_part + widen(rounded) * widen(rounded);
  }
  const double residual_square = sum_lanes(residual_part);
  const double term = sum_lanes(term_part);
  if (lane != 0) return;

  RowFacts fact;
  fact.squares = squares;
  fact.scale = scale;
  fact.own_norm = own_norm;
  fact.norm = blind ? infinity() : rounded_up(kSafety * sqrt(squares) + kUnderflow);
  fact.residual = blind ? 0.0f : rounded_up(kSafety * sqrt(residual_square) + kUnderflow);
  facts[i] = fact;
  if (biases != nullptr)
    biases[i] = !exists                ? -infinity()
                : is_euclidean(metric) ? __double2float_rn(-0.5 * squares)
                                       : 0.0f;
  if (terms != nullptr) terms[i] = __double2float_rn(term);
  if (!exists) return;
  if (bounds != nullptr) {
    raise(bounds, fact.norm);
    raise(bounds + 1, fact.residual);
  }
  if (bad) atomicOr(error_word, is_candidate != 0 ? 2 : 1);
}
