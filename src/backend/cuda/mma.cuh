// Tensor core instructions of compute capability 8.0 and later, and what brings their operands: 16x8x16 products of
// bf16 that add in f32, matrices of 8x8 from shared memory, asynchronous copies. For .cu files of this room only.
//
// Fragments, lane = 4 * quad + i of a warp. C (16x8 f32): c[0], c[1] are row quad, columns 2i and 2i + 1; c[2], c[3]
// the same of row quad + 8. A (16x16): four matrices of 8x8: rows 0-7, rows 8-15 of columns 0-7, then of columns 8-15.
// B (16x8): two: rows 0-7, rows 8-15. In a matrix of A a lane holds row quad, columns 2i and 2i + 1; of B, column quad,
// rows 2i and 2i + 1.
#pragma once

#include <cuda_runtime.h>

#include "backend/cuda/device.cuh"

namespace nosa::cuda {

inline constexpr float kLog2E = 1.44269504088896341f;

// Addresses in shared memory as the instructions take them, bytes.
__device__ __forceinline__ uint32_t SharedAddress(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Four 8x8 matrices of 16-bit numbers; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void LoadMatrices(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
// The same, each matrix transposed.
__device__ __forceinline__ void LoadMatricesTransposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// c += a b.
__device__ __forceinline__ void MultiplyAdd(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 16 bytes from global to shared memory, or zeros in their place; both addresses 16-byte aligned. `from` must be a
// valid address either way.
__device__ __forceinline__ void CopyAsync16(uint32_t to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(__cvta_generic_to_global(from)),
               "r"(valid ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void CopyAsync4(uint32_t to, const void* from, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(to), "l"(__cvta_generic_to_global(from)),
               "r"(valid ? 4 : 0)
               : "memory");
}
// Ends a batch of this thread's copies.
__device__ __forceinline__ void CommitCopies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
// Waits for this thread's batches but the last `kBut`.
template <int kBut>
__device__ __forceinline__ void WaitForCopies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kBut) : "memory");
}

// 2^x within 2 ulp, 0 for -inf.
__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}

// exp(x - max), where `max_log2` = max * kLog2E. Spelled out, so that every kernel gives the same bits.
__device__ __forceinline__ float ExpBelow(float x, float max_log2) { return Exp2(__fmaf_rn(x, kLog2E, -max_log2)); }
__device__ __forceinline__ float TimesLog2E(float x) { return __fmul_rn(x, kLog2E); }

// Rounded to bf16, `a` in the low half.
__device__ __forceinline__ uint32_t PackBf16(float a, float b) {
  const __nv_bfloat162 packed = __floats2bfloat162_rn(a, b);
  return *reinterpret_cast<const uint32_t*>(&packed);
}
// A pair of numbers as a sum of kTerms bf16 pairs, greatest first: each term adds 8 bits.
template <int kTerms>
__device__ __forceinline__ void SplitBf16(float a, float b, uint32_t (&terms)[kTerms]) {
#pragma unroll
  for (int t = 0; t < kTerms; ++t) {
    terms[t] = PackBf16(a, b);
    if (t + 1 == kTerms) break;
    a = __fsub_rn(a, __uint_as_float(terms[t] << 16));
    b = __fsub_rn(b, __uint_as_float(terms[t] & 0xffff0000u));
  }
}

// Over the four lanes that share a row of C.
__device__ __forceinline__ float MaxOfQuad(float x) {
  x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, 1));
  return fmaxf(x, __shfl_xor_sync(kAllLanes, x, 2));
}
__device__ __forceinline__ float SumOfQuad(float x) {
  x = __fadd_rn(x, __shfl_xor_sync(kAllLanes, x, 1));
  return __fadd_rn(x, __shfl_xor_sync(kAllLanes, x, 2));
}

}  // namespace nosa::cuda
