// Every instruction that C++ has no word for.  Built for a CPU (FASTFACE_FIBERS) the tests supply
// the same functions.
#pragma once

#ifdef FASTFACE_FIBERS
#include "fibers_ptx.hpp"
#else

extern __shared__ __align__(128) unsigned char fastface_shared[];
__device__ __forceinline__ unsigned char* dynamic_shared() { return fastface_shared; }

__device__ __forceinline__ float half_to_float(unsigned short bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

// One rounding for product and sum, wherever contraction is switched off.
__device__ __forceinline__ float fused(float a, float b, float c) { return __fmaf_rn(a, b, c); }

__device__ __forceinline__ unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// Copies 16 aligned bytes from global to shared memory, not waiting for them.
__device__ __forceinline__ void cp_async_16(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)),
               "l"(global)
               : "memory");
}
__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
// Waits until all but the newest `pending` groups have arrived.
template <int pending>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// Four 8 x 8 matrices of 16-bit values, a row of 16 bytes at the address that each lane gives:
// lanes 0-7 give those of the first matrix, and so on.
__device__ __forceinline__ void ldmatrix_x4(const void* row, unsigned (&out)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared_address(row))
               : "memory");
}

// c += a b for tiles of 16 x 16 times 16 x 8 values.
__device__ __forceinline__ void mma_bf16(float (&c)[4], const unsigned (&a)[4],
                                         const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The same for 16 x 8 times 8 x 8.
__device__ __forceinline__ void mma_tf32(float (&c)[4], const unsigned (&a)[4],
                                         const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Products of a warpgroup, four warps whose first has a number divisible by four (compute
// capability 9.0 alone, compiled for sm_90a): 64 rows times as many columns as a sum array of half
// that length says, both read from shared memory behind the threads' backs.  Sums in the order of
// the manual: sums[4 c + 2 h + i] stands in row lane / 4 + 8 h of the warp's 16 and column 8 c +
// lane % 4 * 2 + i.
#ifdef WARPGROUP_COLUMNS

// Names rows of 64 bytes, swizzled by 64 bytes in groups of eight that begin at multiples of 512.
__device__ __forceinline__ u64 swizzled_matrix(const void* rows) {
  constexpr u64 kSwizzle64 = 2ULL << 62, kEightRows = 512 >> 4, kUnused = 1;
  return kSwizzle64 | kEightRows << 32 | kUnused << 16 | (shared_address(rows) >> 4 & 0x3fffu);
}

// What this thread wrote to shared memory is seen by products that begin after the next barrier.
__device__ __forceinline__ void wgmma_publish() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
// Registers written so far are seen by the products that follow.
__device__ __forceinline__ void wgmma_begin() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Waits until all but the newest `pending` groups have been computed.
template <int pending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

#define OUT_8(at)                                                                            \
  "=f"(at[0]), "=f"(at[1]), "=f"(at[2]), "=f"(at[3]), "=f"(at[4]), "=f"(at[5]), "=f"(at[6]), \
      "=f"(at[7])
#define OUT_32(at) OUT_8((at)), OUT_8((at + 8)), OUT_8((at + 16)), OUT_8((at + 24))
#define OUT_64(at) OUT_32((at)), OUT_32((at + 32))
#define SUMS_8(at)                                                                           \
  "+f"(at[0]), "+f"(at[1]), "+f"(at[2]), "+f"(at[3]), "+f"(at[4]), "+f"(at[5]), "+f"(at[6]), \
      "+f"(at[7])
#define SUMS_32(at) SUMS_8((at)), SUMS_8((at + 8)), SUMS_8((at + 16)), SUMS_8((at + 24))
#define SUMS_64(at) SUMS_32((at)), SUMS_32((at + 32))
#define SUMS_128(at) SUMS_64((at)), SUMS_64((at + 64))
#define NAMES_64                                                                     \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "           \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define NAMES_128                                                                              \
  NAMES_64                                                                                     \
  ", "                                                                                         \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "           \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "           \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, "     \
  "%111, "                                                                                     \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, " \
  "%127"

// Sums before their first products: no instruction, but the compiler carries nothing over.
__device__ __forceinline__ void wgmma_forget(float (&sums)[64]) { asm volatile("" : OUT_64(sums)); }
__device__ __forceinline__ void wgmma_forget(float (&sums)[128]) {
  asm volatile("" : OUT_64(sums), OUT_64((sums + 64)));
}
// Waits for all of them; sums may be read from here on.
__device__ __forceinline__ void wgmma_finish(float (&sums)[64]) {
  asm volatile("wgmma.wait_group.sync.aligned 0;" : SUMS_64(sums)::"memory");
}
__device__ __forceinline__ void wgmma_finish(float (&sums)[128]) {
  asm volatile("wgmma.wait_group.sync.aligned 0;" : SUMS_128(sums)::"memory");
}

// sums += a b over 32 bytes of every row; sums = a b where `adds` is zero.
#define WGMMA(shape, types, names, a, b, flag, more, operands)                                 \
  asm volatile("{ .reg .pred adds; setp.ne.b32 adds, %" flag                                   \
               ", 0; "                                                                         \
               "wgmma.mma_async.sync.aligned." shape ".f32." types " {" names "}, %" a ", %" b \
               ", adds, 1, 1" more "; }"                                                       \
               : operands                                                                      \
               : "l"(rows), "l"(columns), "r"(adds)                                            \
               : "memory")
__device__ __forceinline__ void wgmma_bf16(float (&sums)[64], u64 rows, u64 columns, int adds) {
  WGMMA("m64n128k16", "bf16.bf16", NAMES_64, "64", "65", "66", ", 0, 0", SUMS_64(sums));
}
__device__ __forceinline__ void wgmma_bf16(float (&sums)[128], u64 rows, u64 columns, int adds) {
  WGMMA("m64n256k16", "bf16.bf16", NAMES_128, "128", "129", "130", ", 0, 0", SUMS_128(sums));
}
__device__ __forceinline__ void wgmma_tf32(float (&sums)[64], u64 rows, u64 columns, int adds) {
  WGMMA("m64n128k8", "tf32.tf32", NAMES_64, "64", "65", "66", "", SUMS_64(sums));
}
__device__ __forceinline__ void wgmma_tf32(float (&sums)[128], u64 rows, u64 columns, int adds) {
  WGMMA("m64n256k8", "tf32.tf32", NAMES_128, "128", "129", "130", "", SUMS_128(sums));
}

#endif  // WARPGROUP_COLUMNS

#endif  // FASTFACE_FIBERS
