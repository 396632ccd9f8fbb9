// What k-means asks about rows by themselves.
//
// Compiled with X_TYPE (rows) and Y_TYPE (centers).
#include "definition.cuh"
#include "fixed_point.cuh"

typedef StorageType<X_TYPE>::type X;
typedef StorageType<Y_TYPE>::type Y;

namespace {
constexpr int kThreads = 256;
constexpr int kHalfWarps = kThreads / kSumLanes;
constexpr u64 kNotANumber = 0x7ff8000000000000ULL;
}  // namespace

// The norm of every row by which the cosine metric divides.
extern "C" __global__ void __launch_bounds__(kThreads)
    row_norms(const X* x, i64 stride, i64 n_rows, int dim, double* norms) {
  const i64 i = static_cast<i64>(blockIdx.x) * kHalfWarps + threadIdx.x / kSumLanes;
  const bool exists = i < n_rows;
  const double norm = row_norm(x + (exists ? i : 0) * stride, exists ? dim : 0);
  if (exists && threadIdx.x % kSumLanes == 0) norms[i] = norm;
}

// The key of every row and its own center.  Norms are needed for cosine.
extern "C" __global__ void __launch_bounds__(kThreads)
    own_distances(const X* x, i64 stride, i64 n_rows, const Y* centers, i64 center_stride, int dim,
                  int metric, const int* labels, const double* norms, const double* center_norms,
                  double* distances) {
  const i64 i = static_cast<i64>(blockIdx.x) * kHalfWarps + threadIdx.x / kSumLanes;
  const bool exists = i < n_rows;
  const i64 row = exists ? i : 0;
  const i64 center = labels[row];
  const bool cosine = metric == kCosine;
  const double key =
      distance_key(x + row * stride, centers + center * center_stride, exists ? dim : 0, metric,
                   cosine ? norms[row] : 0.0, cosine ? center_norms[center] : 0.0);
  if (exists && threadIdx.x % kSumLanes == 0) distances[i] = key;
}

// Raises largest[j], the bits of a float64, to the largest magnitude of feature j, or to a NaN
// where a value is no number.  Block (a, b): features from a * 256, rows from b * rows_per_block.
extern "C" __global__ void __launch_bounds__(kThreads)
    column_range(const X* x, i64 stride, i64 n_rows, int dim, i64 rows_per_block, u64* largest) {
  const int j = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (j >= dim) return;
  const i64 first = static_cast<i64>(blockIdx.y) * rows_per_block;
  const i64 last = first + rows_per_block < n_rows ? first + rows_per_block : n_rows;
  u64 most = 0;
  for (i64 i = first; i < last; ++i) {
    const double magnitude = fabs(widen(x[i * stride + j]));
    const u64 bits = magnitude < wide_infinity() ? static_cast<u64>(__double_as_longlong(magnitude))
                                                 : kNotANumber;
    most = bits > most ? bits : most;
  }
  atomicMax(largest + j, most);
}

// Adds to sums of values and of squares: moments[2][2][dim], as `scales`[2][dim] tell.
extern "C" __global__ void __launch_bounds__(kThreads)
    column_moments(const X* x, i64 stride, i64 n_rows, int dim, i64 rows_per_block,
                   const double* scales, double low_scale, i64* moments) {
  const int j = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (j >= dim) return;
  const i64 first = static_cast<i64>(blockIdx.y) * rows_per_block;
  const i64 last = first + rows_per_block < n_rows ? first + rows_per_block : n_rows;
  Limbs values, squares;
  for (i64 i = first; i < last; ++i) {
    const double value = widen(x[i * stride + j]);
    values.add(to_limbs(value, scales[j], low_scale));
    squares.add(to_limbs(value * value, scales[dim + j], low_scale));
  }
  add_to(moments + j, values.high);
  add_to(moments + dim + j, values.low);
  add_to(moments + 2 * dim + j, squares.high);
  add_to(moments + 3 * dim + j, squares.low);
}
