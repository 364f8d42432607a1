// Tensor-core fragments: bf16 products with f32 sums, one warp at a time (mma.sync m16n8k16, sm_80 and later). In the
// comments, lane = threadIdx.x % 32, group = lane / 4, quad = lane % 4.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace nosa::cuda {

// d += a b, for a [16, 16] and b [16, 8]. d[0..1]: row `group`, columns 2 quad + {0, 1}; d[2..3]: row group + 8.
__device__ inline void Mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four 8x8 matrices of 16-bit numbers from shared memory; lanes 8 i .. 8 i + 7 give the rows of matrix i. Transposed:
// as if the rows were columns.
__device__ inline void LoadMatrices(uint32_t (&r)[4], const void* row) {
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at));
}
__device__ inline void LoadMatricesTransposed(uint32_t (&r)[4], const void* row) {
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at));
}

// Two numbers as one register, the first in the low half.
__device__ inline uint32_t Pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
// What Pack loses, as a second term: together they keep 16 bits of mantissa, so products with bf16 are f32-like.
__device__ inline uint32_t PackRest(float low, float high) {
  return Pack(low - __bfloat162float(__float2bfloat16_rn(low)), high - __bfloat162float(__float2bfloat16_rn(high)));
}

// 16 bytes to shared memory without passing registers; `take` false writes zeros and reads nothing.
__device__ inline void CopyAsync16(void* to, const void* from, bool take = true) {
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  const int bytes = take ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
}
__device__ inline void CommitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most `Newer` of this thread's groups are on their way.
template <int Newer>
__device__ inline void AwaitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Newer) : "memory");
}

}  // namespace nosa::cuda
