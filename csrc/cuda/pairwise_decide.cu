// The definition, where pairwise.cu has marked an entry.
//
// Compiled with X_TYPE and Y_TYPE.
#include "definition.cuh"
#include "pairwise.cuh"
#include "screen.cuh"

typedef StorageType<X_TYPE>::type X;
typedef StorageType<Y_TYPE>::type Y;

namespace {
constexpr int kThreads = 256;
constexpr int kTileRows = 128;  // of pairwise_tiles
constexpr int kTileColumns = 128;
}  // namespace

// The same grid as pairwise_tiles.  Each warp looks for marks and fills in two at a time.
extern "C" __global__ void __launch_bounds__(kThreads)
    pairwise_decide(const X* x, i64 x_stride, const Y* y, i64 y_stride, i64 n_rows, i64 n_columns,
                    int dim, int metric, const RowFacts* x_facts, const RowFacts* y_facts,
                    float* out, i64 out_stride, const int* doubtful) {
  if (doubtful[blockIdx.y * gridDim.x + blockIdx.x] == 0) return;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int half = lane / kSumLanes;
  const int warp = static_cast<int>(threadIdx.x / 32);
  const i64 first_row = static_cast<i64>(blockIdx.x) * kTileRows;
  const i64 first_column = static_cast<i64>(blockIdx.y) * kTileColumns;
  for (int r = warp; r < kTileRows; r += kThreads / 32) {
    const i64 row = first_row + r;
    if (row >= n_rows) break;
    const double x_norm = x_facts[row].own_norm;
    for (int c = 0; c < kTileColumns; c += 32) {
      const i64 column = first_column + c + lane;
      const bool marked =
          column < n_columns && __float_as_int(out[row * out_stride + column]) == kDoubtfulBits;
      u32 marks = __ballot_sync(0xffffffffu, marked);
      while (marks != 0) {
        const int first = __ffs(marks) - 1;
        marks &= marks - 1;
        const int second = marks != 0 ? __ffs(marks) - 1 : -1;
        marks &= marks - 1;
        const int mine = half == 0 ? first : second;
        const i64 at = first_column + c + (mine < 0 ? first : mine);
        const double key = distance_key(x + row * x_stride, y + at * y_stride, mine < 0 ? 0 : dim,
                                        metric, x_norm, y_facts[at].own_norm);
        if (mine >= 0 && lane % kSumLanes == 0)
          out[row * out_stride + at] = to_distance(key, metric);
      }
    }
  }
}
