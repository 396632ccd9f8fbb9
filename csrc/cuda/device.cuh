// Types and small helpers that every kernel shares.  NVRTC compiles these files at run time, so
// nothing of the host's or the toolkit's headers is included.
#pragma once

typedef long long i64;
typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned char u8;

#include "ptx.cuh"

// Storage of a matrix: the same numbers as csrc/cpu/kernels.hpp.
#define STORAGE_FLOAT16 0
#define STORAGE_FLOAT32 1
#define STORAGE_FLOAT64 2

struct Half {
  u16 bits;
};

template <int storage>
struct StorageType;
template <>
struct StorageType<STORAGE_FLOAT16> {
  typedef Half type;
};
template <>
struct StorageType<STORAGE_FLOAT32> {
  typedef float type;
};
template <>
struct StorageType<STORAGE_FLOAT64> {
  typedef double type;
};

__device__ __forceinline__ double widen(double value) { return value; }
__device__ __forceinline__ double widen(float value) { return static_cast<double>(value); }
__device__ __forceinline__ double widen(Half value) {
  return static_cast<double>(half_to_float(value.bits));
}

enum Metric { kSquaredEuclidean, kEuclidean, kCosine, kInnerProduct };
__device__ __forceinline__ bool is_euclidean(int metric) { return metric <= kEuclidean; }

__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }
__device__ __forceinline__ double wide_infinity() {
  return __longlong_as_double(0x7ff0000000000000LL);
}

// The largest float32 not above, and the smallest not below, a float64.
__device__ __forceinline__ float rounded_up(double value) { return __double2float_ru(value); }

// Non-negative floats compare as their bits do.
__device__ __forceinline__ void raise(float* target, float value) {
  atomicMax(reinterpret_cast<int*>(target), __float_as_int(value));
}
__device__ __forceinline__ void raise(u64* target, double value) {
  atomicMax(target, static_cast<u64>(__double_as_longlong(value)));
}

// Adds to a sum of integers; two's complement makes signed and unsigned the same.
__device__ __forceinline__ void add_to(i64* target, i64 value) {
  atomicAdd(reinterpret_cast<u64*>(target), static_cast<u64>(value));
}
