// Instructions of compute capability 9.0a: products of a warpgroup (128 threads, 64 rows of A, 16 of them a warp's)
// with operand B in shared memory, barriers in shared memory that count arrivals, and registers handed from warpgroup
// to warpgroup. For .cu files of this room only, in code that other targets leave out (NOSA_WGMMA).
//
// Fragments of a warp are those of mma.cuh: C and A as 16 rows, the columns side by side.
#pragma once

#include "backend/cuda/mma.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define NOSA_WGMMA 1
#endif

namespace nosa::cuda {

// Operand B as the tensor cores find it: slabs of 64 bf16 columns, rows of 128 bytes, the 16-byte piece c of row r at
// c ^ (r % 8). Slabs are aligned to 1,024 bytes and lie `slab_bytes` apart. This is the half that differs from operand
// to operand.
__device__ __forceinline__ uint32_t OperandOf(uint32_t address, uint32_t slab_bytes) {
  return (slab_bytes >> 4) << 16 | (address & 0x3ffffu) >> 4;
}
// The operand `bytes` further on.
__device__ __forceinline__ uint32_t Further(uint32_t operand, uint32_t bytes) { return operand + (bytes >> 4); }
// The whole of it: that rows are swizzled over 128 bytes, and eight of them 1,024.
__device__ __forceinline__ uint64_t Descriptor(uint32_t operand) {
  return uint64_t{1} << 62 | uint64_t{1024 >> 4} << 32 | operand;
}

#ifdef NOSA_WGMMA

// Before the first product of a batch: what this thread wrote to its fragments is there.
__device__ __forceinline__ void BeginProducts() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }
__device__ __forceinline__ void CommitProducts() { asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory"); }
// Waits for all batches but the last `kBut`.
template <int kBut>
__device__ __forceinline__ void WaitForProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kBut) : "memory");
}
// Keeps the compiler from moving uses of a product's result before the wait.
template <int kColumns>
__device__ __forceinline__ void HoldFragments(float (&c)[kColumns][4]) {
#pragma unroll
  for (int i = 0; i < kColumns; ++i) asm volatile("" : "+f"(c[i][0]), "+f"(c[i][1]), "+f"(c[i][2]), "+f"(c[i][3]));
}

#define NOSA_C4(i) "+f"(c[i][0]), "+f"(c[i][1]), "+f"(c[i][2]), "+f"(c[i][3])
#define NOSA_C32(i)                                                                                           \
  NOSA_C4(i), NOSA_C4(i + 1), NOSA_C4(i + 2), NOSA_C4(i + 3), NOSA_C4(i + 4), NOSA_C4(i + 5), NOSA_C4(i + 6), \
      NOSA_C4(i + 7)

// c (64 x 8 kColumns) = a (64 x 16) b, or with `add` c += a b. kRowsOfDepth: the rows of b's slabs are the 16 of the
// depth, else they are the columns of the product.
template <bool kRowsOfDepth>
__device__ __forceinline__ void Multiply(float (&c)[8][4], const uint32_t (&a)[4], uint32_t b, bool add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, add, 1, 1, %38;\n}\n"
      : NOSA_C32(0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(Descriptor(b)), "r"(static_cast<int>(add)),
        "n"(kRowsOfDepth ? 1 : 0));
}
// The same with a in shared memory too, its rows those of the slabs.
__device__ __forceinline__ void Multiply(float (&c)[8][4], uint32_t a, uint32_t b, bool add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, add, 1, 1, 0, 0;\n}\n"
      : NOSA_C32(0)
      : "l"(Descriptor(a)), "l"(Descriptor(b)), "r"(static_cast<int>(add)));
}
template <bool kRowsOfDepth>
__device__ __forceinline__ void Multiply(float (&c)[16][4], const uint32_t (&a)[4], uint32_t b, bool add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, add, 1, 1, %70;\n}\n"
      : NOSA_C32(0), NOSA_C32(8)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(Descriptor(b)), "r"(static_cast<int>(add)),
        "n"(kRowsOfDepth ? 1 : 0));
}
#undef NOSA_C32
#undef NOSA_C4

// What this thread wrote to shared memory is there for the tensor cores, once others know by a barrier.
__device__ __forceinline__ void PublishToTensorCores() {
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

// A barrier in shared memory that opens, phase after phase, when it has counted `arrivals`.
__device__ __forceinline__ void InitBarrier(uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(SharedAddress(barrier)), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void Arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(SharedAddress(barrier)) : "memory");
}
// Waits for the end of the phase of this parity.
__device__ __forceinline__ void WaitFor(uint64_t* barrier, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\nAGAIN:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra AGAIN;\n}\n" ::"r"(SharedAddress(barrier)),
      "r"(parity)
      : "memory");
}

// Among the 128 threads of a warpgroup; `id`: 1 to 15.
__device__ __forceinline__ void SyncWarpgroup(int id) { asm volatile("bar.sync %0, 128;\n" ::"r"(id) : "memory"); }

template <int kRegisters>
__device__ __forceinline__ void GiveRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void TakeRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
}

#endif  // NOSA_WGMMA

}  // namespace nosa::cuda
