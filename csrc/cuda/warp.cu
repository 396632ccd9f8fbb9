// Cuts faces out of photos: csrc/faces/warp.cpp says what comes out, to the bit.
//
// Compiled with LAYOUT: of the crops as bytes, or normalised for an embedding network.
#include "device.cuh"

#define LAYOUT_BYTES 0   // uint8 (n, size, size, 3)
#define LAYOUT_FLOATS 1  // float32 (n, 3, size, size), normalised

namespace {

constexpr int kThreads = 256;
constexpr int kTaps = 5;

// Part of an RGB photo on the GPU, as PhotoView in csrc/faces/warp.hpp.
struct Photo {
  i64 offset;  // of its first pixel from that of the first photo, in bytes
  i64 rows;
  i64 columns;
  i64 row_stride;  // in bytes
};

// Pixel (column, row) of the crop is sampled at origin + step * (column + i * row).
struct Grid {
  double x, y;
  double step_x, step_y;
  double rounding;  // added before the fraction is cut off
  i64 photo;        // number of its photo
};

struct Pixel {
  u8 colors[3];
};

// Bilinear; black where one of the four neighbours is outside, or for positions that are no
// numbers. Products and sums are rounded one by one, in this order (--fmad=false), as on the CPU.
__device__ __forceinline__ Pixel sample_pixel(const u8* pixels, const Photo& photo,
                                              const Grid& grid, int column, int row) {
  Pixel out = {{0, 0, 0}};
  const double c = column, r = row;
  const double x = grid.x + (grid.step_x * c - grid.step_y * r);
  const double y = grid.y + (grid.step_x * r + grid.step_y * c);
  const double last_x = static_cast<double>(photo.columns - 1);
  const double last_y = static_cast<double>(photo.rows - 1);
  if (!(x >= 0.0 && y >= 0.0 && x < last_x && y < last_y)) return out;
  const i64 left = static_cast<i64>(x), top = static_cast<i64>(y);
  const double right = x - static_cast<double>(left);
  const double down = y - static_cast<double>(top);
  const u8* const above = pixels + photo.offset + top * photo.row_stride + 3 * left;
  const u8* const below = above + photo.row_stride;
#pragma unroll
  for (int color = 0; color < 3; ++color) {
    const double high = (1 - right) * above[color] + right * above[color + 3];
    const double low = (1 - right) * below[color] + right * below[color + 3];
    out.colors[color] =
        static_cast<u8>(static_cast<int>(high * (1 - down) + low * down + grid.rounding));
  }
  return out;
}

}  // namespace

// Halves a photo: [1 4 6 4 1] / 16 both ways, every second pixel of those with two neighbours on
// either side.  Thread x of the grid makes one value of a row, y one row; rows and columns are
// those that come out.
extern "C" __global__ void __launch_bounds__(kThreads)
    halve(const u8* pixels, i64 row_stride, i64 rows, i64 columns, u8* out) {
  const i64 value = static_cast<i64>(blockIdx.x) * kThreads + threadIdx.x;
  if (value >= 3 * columns) return;
  const int weights[kTaps] = {1, 4, 6, 4, 1};
  for (i64 row = blockIdx.y; row < rows; row += gridDim.y) {
    const u8* const first = pixels + 2 * row * row_stride + value / 3 * 6 + value % 3;
    int total = 0;
#pragma unroll
    for (int i = 0; i < kTaps; ++i)
#pragma unroll
      for (int j = 0; j < kTaps; ++j)
        total += weights[i] * weights[j] * first[i * row_stride + 3 * j];
    out[row * 3 * columns + value] = static_cast<u8>(total >> 8);
  }
}

// Samples crop blockIdx.y.  With LAYOUT_FLOATS a value becomes (value - means[c]) / deviations[c]
// in float32, each operation rounded, in the order of channels that `order`[3] names.
extern "C" __global__ void __launch_bounds__(kThreads)
    warp(const u8* pixels, const Photo* photos, const Grid* grids, int size, const float* means,
         const float* deviations, const int* order, void* out) {
  const int place = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (place >= size * size) return;
  const Grid grid = grids[blockIdx.y];
  const Pixel pixel = sample_pixel(pixels, photos[grid.photo], grid, place % size, place / size);
  const i64 area = static_cast<i64>(size) * size;
  const i64 first = static_cast<i64>(blockIdx.y) * 3 * area;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
#if LAYOUT == LAYOUT_BYTES
    static_cast<u8*>(out)[first + 3 * place + c] = pixel.colors[c];
#else
    const int from = order[c];
    const u8 value = from == 0 ? pixel.colors[0] : from == 1 ? pixel.colors[1] : pixel.colors[2];
    static_cast<float*>(out)[first + c * area + place] =
        (static_cast<float>(value) - means[c]) / deviations[c];
#endif
  }
}
