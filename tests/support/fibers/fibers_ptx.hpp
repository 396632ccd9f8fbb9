// CUDA's built-in names, and the functions of csrc/cuda/ptx.cuh, for fibers.
#pragma once

#include <cmath>
#include <type_traits>

#include "fibers.hpp"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __shared__ static __attribute__((section("fastface_shared")))
#define threadIdx (fibers::self().index)
#define blockIdx (fibers::block)
#define blockDim (fibers::block_size)
#define gridDim (fibers::grid_size)

struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};

using std::fabs;
using std::rint;
using std::sqrt;

// Barriers and votes ------------------------------------------------------------------------

inline void __syncthreads() { fibers::wait_for_block("__syncthreads", 0); }
inline int __syncthreads_or(int predicate) {
  fibers::wait_for_block("__syncthreads_or", predicate != 0);
  return fibers::last_vote;
}
inline int __syncthreads_count(int predicate) {
  fibers::wait_for_block("__syncthreads_count", predicate != 0);
  return fibers::last_count;
}
inline void __syncwarp(unsigned members = ~0u) { fibers::wait_for_warp("__syncwarp", members); }
inline void __threadfence() {}
inline void __threadfence_block() {}

inline unsigned __ballot_sync(unsigned members, int predicate) {
  fibers::show("__ballot_sync", members, predicate != 0);
  unsigned result = 0;
  for (int i = 0; i < 32; ++i)
    if (members >> i & 1u)
      result |= static_cast<unsigned>(fibers::shown_by<bool>(i, "__ballot_sync", members)) << i;
  return result;
}
inline int __any_sync(unsigned members, int predicate) {
  return __ballot_sync(members, predicate) != 0;
}
inline int __all_sync(unsigned members, int predicate) {
  return __ballot_sync(members, predicate) == members;
}

template <typename T>
T fibers_shuffle(const char* what, unsigned members, T value, int from, int width) {
  fibers::show(what, members, value);
  const int first = fibers::lane() / width * width;
  const bool inside = from >= first && from < first + width;
  return fibers::shown_by<T>(inside ? from : fibers::lane(), what, members);
}
template <typename T>
T __shfl_sync(unsigned members, T value, int from, int width = 32) {
  const int first = fibers::lane() / width * width;
  return fibers_shuffle("__shfl_sync", members, value, first + from % width, width);
}
template <typename T>
T __shfl_xor_sync(unsigned members, T value, int mask, int width = 32) {
  return fibers_shuffle("__shfl_xor_sync", members, value, fibers::lane() ^ mask, width);
}
template <typename T>
T __shfl_up_sync(unsigned members, T value, unsigned by, int width = 32) {
  return fibers_shuffle("__shfl_up_sync", members, value, fibers::lane() - static_cast<int>(by),
                        width);
}
template <typename T>
T __shfl_down_sync(unsigned members, T value, unsigned by, int width = 32) {
  return fibers_shuffle("__shfl_down_sync", members, value, fibers::lane() + static_cast<int>(by),
                        width);
}

// Atomics: one fiber runs at a time -----------------------------------------------------------

template <typename T>
using Same = typename std::common_type<T>::type;  // no deduction from the value

template <typename T>
T atomicAdd(T* target, Same<T> value) {
  const T old = *target;
  if constexpr (std::is_integral<T>::value) {
    typedef typename std::make_unsigned<T>::type Wrapping;
    *target = static_cast<T>(static_cast<Wrapping>(old) + static_cast<Wrapping>(value));
  } else {
    *target = old + value;
  }
  return old;
}
template <typename T>
T atomicMax(T* target, Same<T> value) {
  const T old = *target;
  if (value > old) *target = value;
  return old;
}
template <typename T>
T atomicMin(T* target, Same<T> value) {
  const T old = *target;
  if (value < old) *target = value;
  return old;
}
template <typename T>
T atomicOr(T* target, Same<T> value) {
  const T old = *target;
  *target = old | value;
  return old;
}
template <typename T>
T atomicExch(T* target, Same<T> value) {
  const T old = *target;
  *target = value;
  return old;
}
template <typename T>
T atomicCAS(T* target, Same<T> expected, Same<T> value) {
  const T old = *target;
  if (old == expected) *target = value;
  return old;
}

// Numbers -----------------------------------------------------------------------------------

template <typename To, typename From>
To fibers_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "the same bits");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
inline int __float_as_int(float value) { return fibers_bits<int>(value); }
inline unsigned __float_as_uint(float value) { return fibers_bits<unsigned>(value); }
inline float __int_as_float(int bits) { return fibers_bits<float>(bits); }
inline float __uint_as_float(unsigned bits) { return fibers_bits<float>(bits); }
inline long long __double_as_longlong(double value) { return fibers_bits<long long>(value); }
inline double __longlong_as_double(long long bits) { return fibers_bits<double>(bits); }

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(unsigned bits) { return __builtin_ffs(static_cast<int>(bits)); }
inline int __clz(unsigned bits) { return bits == 0 ? 32 : __builtin_clz(bits); }

inline float __double2float_rn(double value) { return static_cast<float>(value); }
inline float __double2float_ru(double value) {
  const float near = static_cast<float>(value);
  return static_cast<double>(near) < value ? std::nextafterf(near, INFINITY) : near;
}
inline float __double2float_rd(double value) {
  const float near = static_cast<float>(value);
  return static_cast<double>(near) > value ? std::nextafterf(near, -INFINITY) : near;
}
inline long long __double2ll_rn(double value) { return std::llrint(value); }
inline int __double2int_rn(double value) { return static_cast<int>(std::lrint(value)); }
inline int __float2int_rn(float value) { return static_cast<int>(std::lrint(value)); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fmaf(a, b, c); }
inline float __fsub_rd(float a, float b) {
  // Rounding twice downwards is rounding once: no float32 lies between.
  const double wide = static_cast<double>(a) - b;
  const double rest = (a - (wide + b)) + 0.0;
  return __double2float_rd(rest < 0.0 ? std::nextafter(wide, -INFINITY) : wide);
}

// csrc/cuda/ptx.cuh ---------------------------------------------------------------------------

inline unsigned char* dynamic_shared() { return fibers::dynamic; }
inline float fused(float a, float b, float c) { return std::fmaf(a, b, c); }

inline float half_to_float(unsigned short bits) {
  const int exponent = bits >> 10 & 31;
  const int fraction = bits & 1023;
  float value = std::ldexp(static_cast<float>(exponent == 0 ? fraction : fraction + 1024),
                           (exponent == 0 ? 1 : exponent) - 25);
  if (exponent == 31) value = fraction == 0 ? INFINITY : NAN;
  return bits & 0x8000 ? -value : value;
}

// What is copied is spoilt, and forbidden, until it has been waited for.
inline void cp_async_16(void* shared, const void* global) {
  if (reinterpret_cast<std::uintptr_t>(shared) % 16 != 0 ||
      reinterpret_cast<std::uintptr_t>(global) % 16 != 0)
    fibers::fail("misaligned", "cp.async", fibers::block, threadIdx);
  unsigned char test[16];
  std::memcpy(test, global, 16);
  std::memset(shared, 0xff, 16);
  fibers::forbid(shared, 16);
  fibers::self().open.push_back({shared, global});
}
inline void cp_async_commit() {
  fibers::Fiber& me = fibers::self();
  me.groups.push_back(std::move(me.open));
  me.open.clear();
}
template <int pending>
void cp_async_wait() {
  std::vector<std::vector<fibers::Copy>>& groups = fibers::self().groups;
  while (groups.size() > static_cast<std::size_t>(pending)) {
    for (const fibers::Copy& copy : groups.front()) {
      fibers::allow(copy.to, 16);
      std::memcpy(copy.to, copy.from, 16);
    }
    groups.erase(groups.begin());
  }
}

inline void ldmatrix_x4(const void* row, unsigned (&out)[4]) {
  if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0)
    fibers::fail("misaligned", "ldmatrix", fibers::block, threadIdx);
  fibers::show("ldmatrix", ~0u, row);
  for (int matrix = 0; matrix < 4; ++matrix) {
    const int from = matrix * 8 + fibers::lane() / 4;
    const unsigned char* bytes =
        static_cast<const unsigned char*>(fibers::shown_by<const void*>(from, "ldmatrix", ~0u));
    std::memcpy(&out[matrix], bytes + fibers::lane() % 4 * 4, 4);
  }
}

// A lane's registers: its pieces of A and of B.
struct Fragments {
  unsigned a[4], b[2];
};

// Row of A of this lane's quad times a column of B: element k lies in lane, register and half that
// `locate` names.  Sums in float32, one product after the other: not what the interpreter does.
template <int kHalves>
float fibers_dot(float sum, int row, int column, int k_extent) {
  for (int k = 0; k < k_extent; ++k) {
    const int inner = k % (4 * kHalves);
    const int outer = k / (4 * kHalves);
    const Fragments with_a = fibers::shown_by<Fragments>(row % 8 * 4 + inner / kHalves, "mma", ~0u);
    const Fragments with_b = fibers::shown_by<Fragments>(column * 4 + inner / kHalves, "mma", ~0u);
    unsigned a = with_a.a[row / 8 + 2 * outer];
    unsigned b = with_b.b[outer];
    if (kHalves == 2) {
      a = k % 2 ? a & 0xffff0000u : a << 16;
      b = k % 2 ? b & 0xffff0000u : b << 16;
    } else {
      a &= 0xffffe000u;
      b &= 0xffffe000u;
    }
    sum = sum + __uint_as_float(a) * __uint_as_float(b);
  }
  return sum;
}
template <int kHalves>
void fibers_mma(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  fibers::show("mma", ~0u, Fragments{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}});
  const int lane = fibers::lane();
  for (int i = 0; i < 4; ++i)
    c[i] = fibers_dot<kHalves>(c[i], lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2, 8 * kHalves);
}
inline void mma_bf16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  fibers_mma<2>(c, a, b);
}
inline void mma_tf32(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  fibers_mma<1>(c, a, b);
}

// Warpgroups: products wait for their group's end and read what is in memory then.  Sums lie
// elsewhere, their own place is spoilt and forbidden, until the last of their products is there.
inline std::uint64_t swizzled_matrix(const void* rows) {
  const std::uint64_t address = reinterpret_cast<std::uintptr_t>(rows);
  if (address / 64 * 64 % 512 != 0) fibers::fail("misaligned", "wgmma", fibers::block, threadIdx);
  return address / 16;  // as descriptors count
}
inline void wgmma_publish() {}
inline void wgmma_begin() {}
inline void wgmma_commit() {
  fibers::Fiber& me = fibers::self();
  me.product_groups.push_back(std::move(me.open_products));
  me.open_products.clear();
}
template <int pending>
void wgmma_wait() {
  fibers::Fiber& me = fibers::self();
  std::vector<std::vector<std::function<void()>>>& groups = me.product_groups;
  while (groups.size() > static_cast<std::size_t>(pending)) {
    for (const std::function<void()>& product : groups.front()) product();
    groups.erase(groups.begin());
  }
  if (!groups.empty() || !me.open_products.empty()) return;
  for (const fibers::Sums& sums : me.sums_under_way) {
    fibers::allow(sums.place, sums.values.size() * sizeof(float));
    std::memcpy(sums.place, sums.values.data(), sums.values.size() * sizeof(float));
  }
  me.sums_under_way.clear();
}
// Where products add to sums until they have been waited for.
template <int kSumsOfThread>
float* fibers_sums_under_way(float (&sums)[kSumsOfThread]) {
  std::list<fibers::Sums>& all = fibers::self().sums_under_way;
  for (fibers::Sums& one : all)
    if (one.place == sums) return one.values.data();
  all.push_back({sums, std::vector<float>(sums, sums + kSumsOfThread)});
  for (float& sum : sums) sum = NAN;
  fibers::forbid(sums, sizeof sums);
  return all.back().values.data();
}
template <int kSumsOfThread>
void wgmma_forget(float (&sums)[kSumsOfThread]) {
  for (float& sum : sums) sum = NAN;
}
template <int kSumsOfThread>
void wgmma_finish(float (&)[kSumsOfThread]) {
  wgmma_wait<0>();
}

// Feature `k` of row `row` of a matrix: the address, not the row, says how chunks are exchanged.
template <typename Element>
float fibers_feature(std::uint64_t matrix, int row, int k) {
  const std::uint64_t plain =
      matrix * 16 + static_cast<std::uint64_t>(row) * 64 + k * sizeof(Element);
  const std::uint64_t exchanged = plain ^ (plain >> 7 & 3) << 4;
  Element element;
  std::memcpy(&element, reinterpret_cast<const void*>(exchanged), sizeof element);
  if constexpr (sizeof element == 2) return __uint_as_float(static_cast<unsigned>(element) << 16);
  return __uint_as_float(element & 0xffffe000u);
}
template <typename Element, int kSumsOfThread>
void fibers_wgmma(float (&sums)[kSumsOfThread], std::uint64_t rows, std::uint64_t columns,
                  int adds) {
  constexpr int kFeatures = 32 / sizeof(Element);
  const int thread = fibers::current % 128;
  float* const into = fibers_sums_under_way(sums);
  fibers::self().open_products.push_back([=] {
    for (int half = 0; half < 2; ++half) {
      float a[kFeatures];
      const int row = thread / 32 * 16 + thread % 32 / 4 + 8 * half;
      for (int k = 0; k < kFeatures; ++k) a[k] = fibers_feature<Element>(rows, row, k);
      for (int i = 0; i < kSumsOfThread / 2; ++i) {
        float& sum = into[i / 2 * 4 + half * 2 + i % 2];
        if (adds == 0) sum = 0.0f;
        for (int k = 0; k < kFeatures; ++k)
          sum =
              sum + a[k] * fibers_feature<Element>(columns, i / 2 * 8 + thread % 4 * 2 + i % 2, k);
      }
    }
  });
}
template <int kSumsOfThread>
void wgmma_bf16(float (&sums)[kSumsOfThread], std::uint64_t rows, std::uint64_t columns, int adds) {
  fibers_wgmma<unsigned short>(sums, rows, columns, adds);
}
template <int kSumsOfThread>
void wgmma_tf32(float (&sums)[kSumsOfThread], std::uint64_t rows, std::uint64_t columns, int adds) {
  fibers_wgmma<unsigned>(sums, rows, columns, adds);
}
inline unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(pointer));
}
