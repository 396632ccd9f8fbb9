// Sums of the rows of every cluster, in integers.
//
// Few clusters: every block keeps sums of its own in shared memory (`accumulate_shared`).  Many:
// rows are sorted by label (`label_count`, `exclusive_scan`, `label_scatter`), and each warp walks
// a run of them with its sums in registers (`accumulate_sorted`).  Either way a row is read once,
// and integers make the order, which varies, irrelevant.
//
// The mass of a row goes along as feature number dim.  Compiled with X_TYPE.
#include "fixed_point.cuh"

typedef StorageType<X_TYPE>::type X;

namespace {

constexpr int kWarp = 32;
constexpr int kScanThreads = 1024;
constexpr int kScanWarps = kScanThreads / kWarp;

// What all of the kernels know of rows and sums.
struct Cell {
  const X* x;
  i64 stride;
  int dim;
  const double* factors;  // null: 1
  const double* masses;   // null: 1
  const double* scales;
  double mass_scale;
  double low_scale;
  int sign;

  // What row i adds to feature j of its cluster; j = dim: to its mass.
  __device__ __forceinline__ Limbs share(i64 i, int j) const {
    double value, scale;
    if (j < dim) {
      const double factor = factors == nullptr ? 1.0 : factors[i];
      value = factor * widen(x[i * stride + j]);
      scale = scales[j];
    } else {
      value = masses == nullptr ? 1.0 : masses[i];
      scale = mass_scale;
    }
    Limbs limbs = to_limbs(value, scale, low_scale);
    if (sign < 0) {
      limbs.high = -limbs.high;
      limbs.low = -limbs.low;
    }
    return limbs;
  }
};

// sums[2][n_clusters][dim] and mass[2][n_clusters].
__device__ __forceinline__ void add_to_cluster(const Limbs& limbs, int cluster, int j, int dim,
                                               int n_clusters, i64* sums, i64* mass) {
  const i64 clusters = n_clusters;
  if (j < dim) {
    i64* const at = sums + static_cast<i64>(cluster) * dim + j;
    add_to(at, limbs.high);
    add_to(at + clusters * dim, limbs.low);
  } else {
    add_to(mass + cluster, limbs.high);
    add_to(mass + clusters + cluster, limbs.low);
  }
}

__device__ __forceinline__ i64 inclusive_warp_sum(i64 value, int lane) {
#pragma unroll
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const i64 other = __shfl_up_sync(0xffffffffu, value, distance);
    if (lane >= distance) value += other;
  }
  return value;
}

}  // namespace

// Writes the numbers of rows whose label changed, in any order; count has to be zero before.
extern "C" __global__ void __launch_bounds__(256)
    moved_rows(const int* labels, const int* previous, i64 n_rows, int* rows, int* count) {
  const i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  const bool moved = i < n_rows && labels[i] != previous[i];
  const u32 others = __ballot_sync(0xffffffffu, moved);
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  int base = 0;
  if (lane == 0 && others != 0) base = atomicAdd(count, __popc(others));
  base = __shfl_sync(0xffffffffu, base, 0);
  if (moved) rows[base + __popc(others & ((1u << lane) - 1u))] = static_cast<int>(i);
}

// Counts the rows of every label; counts[n_clusters] have to be zero before.  `rows` names the
// rows that take part, or is null for all of them.
extern "C" __global__ void __launch_bounds__(256)
    label_count(const int* labels, const int* rows, i64 n, i64* counts) {
  const i64 m = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (m < n) add_to(counts + labels[rows == nullptr ? m : rows[m]], 1);
}

// offsets[0] = 0, offsets[i + 1] = counts[0] + ... + counts[i].  One block of 1024 threads.
extern "C" __global__ void __launch_bounds__(kScanThreads)
    exclusive_scan(const i64* counts, i64 n, i64* offsets) {
  __shared__ i64 sums[kScanWarps];
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int warp = static_cast<int>(threadIdx.x / kWarp);
  i64 before = 0;  // of everything up to this round
  if (threadIdx.x == 0) offsets[0] = 0;
  for (i64 first = 0; first < n; first += kScanThreads) {
    const i64 i = first + threadIdx.x;
    const i64 own = inclusive_warp_sum(i < n ? counts[i] : 0, lane);
    if (lane == kWarp - 1) sums[warp] = own;
    __syncthreads();
    i64 lower = 0, all = 0;
    for (int w = 0; w < kScanWarps; ++w) {
      if (w < warp) lower += sums[w];
      all += sums[w];
    }
    if (i < n) offsets[i + 1] = before + lower + own;
    before += all;
    __syncthreads();
  }
}

// Writes rows in the order of their labels.  cursors[n_clusters], a copy of the offsets, are used
// up.  Within a label the order varies.
extern "C" __global__ void __launch_bounds__(256)
    label_scatter(const int* labels, const int* rows, i64 n, i64* cursors, int* sorted) {
  const i64 m = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (m >= n) return;
  const int row = rows == nullptr ? static_cast<int>(m) : rows[m];
  const u64 at = atomicAdd(reinterpret_cast<u64*>(cursors) + labels[row], static_cast<u64>(1));
  sorted[at] = row;
}

// Warp (w, g) walks the rows sorted[w * run] ... of features g * 32 ...: grid x is the number of
// runs over 8 (warps a block), y is ceil((dim + 1) / 32).
extern "C" __global__ void __launch_bounds__(256)
    accumulate_sorted(const X* x, i64 stride, int dim, const int* labels, const int* sorted, i64 n,
                      i64 run, const double* factors, const double* masses, const double* scales,
                      double mass_scale, double low_scale, int sign, int n_clusters, i64* sums,
                      i64* mass) {
  const int j = static_cast<int>(blockIdx.y * kWarp + threadIdx.x % kWarp);
  const i64 first =
      (static_cast<i64>(blockIdx.x) * (blockDim.x / kWarp) + threadIdx.x / kWarp) * run;
  if (j > dim || first >= n) return;
  const i64 last = first + run < n ? first + run : n;
  const Cell cell = {x, stride, dim, factors, masses, scales, mass_scale, low_scale, sign};
  int cluster = labels[sorted[first]];
  Limbs total;
  for (i64 m = first; m < last; ++m) {
    const i64 i = sorted[m];
    const int label = labels[i];
    if (label != cluster) {
      add_to_cluster(total, cluster, j, dim, n_clusters, sums, mass);
      total = Limbs();
      cluster = label;
    }
    total.add(cell.share(i, j));
  }
  add_to_cluster(total, cluster, j, dim, n_clusters, sums, mass);
}

// Block (b, g) of 32 x 8 threads takes every gridDim.x-th run of 8 rows of features g * 32 ...
// Dynamic shared memory: n_clusters * 32 * 16 bytes.  grid y is ceil((dim + 1) / 32).
extern "C" __global__ void __launch_bounds__(256, 4)
    accumulate_shared(const X* x, i64 stride, int dim, const int* labels, const int* rows, i64 n,
                      const double* factors, const double* masses, const double* scales,
                      double mass_scale, double low_scale, int sign, int n_clusters, i64* sums,
                      i64* mass) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int warp = static_cast<int>(threadIdx.x / kWarp);
  const int n_warps = static_cast<int>(blockDim.x / kWarp);
  const int j = static_cast<int>(blockIdx.y * kWarp) + lane;
  i64* const own = reinterpret_cast<i64*>(dynamic_shared());  // [cluster][limb][lane]
  for (int i = static_cast<int>(threadIdx.x); i < n_clusters * 2 * kWarp;
       i += static_cast<int>(blockDim.x))
    own[i] = 0;
  __syncthreads();
  const Cell cell = {x, stride, dim, factors, masses, scales, mass_scale, low_scale, sign};
  if (j <= dim) {
    for (i64 m = static_cast<i64>(blockIdx.x) * n_warps + warp; m < n;
         m += static_cast<i64>(gridDim.x) * n_warps) {
      const i64 i = rows == nullptr ? m : static_cast<i64>(rows[m]);
      const Limbs limbs = cell.share(i, j);
      i64* const at = own + labels[i] * 2 * kWarp + lane;
      add_to(at, limbs.high);
      add_to(at + kWarp, limbs.low);
    }
  }
  __syncthreads();
  if (j > dim) return;
  for (int cluster = warp; cluster < n_clusters; cluster += n_warps) {
    Limbs limbs;
    limbs.high = own[cluster * 2 * kWarp + lane];
    limbs.low = own[(cluster * 2 + 1) * kWarp + lane];
    if (limbs.high != 0 || limbs.low != 0)
      add_to_cluster(limbs, cluster, j, dim, n_clusters, sums, mass);
  }
}
