// Barriers in shared memory that count arrivals, of threads and of their asynchronous copies: compute capability 8.0
// and later. What a thread wrote before it arrived can be read by who has waited. For .cu files of this room only.
#pragma once

#include <cstdint>

#include "backend/cuda/mma.cuh"

namespace nosa::cuda {

// Completed by `count` arrivals, again and again: the first time is phase 0, the next one phase 1.
struct Barrier {
  uint64_t state;
};

// Before any use, by one thread, with a __syncthreads() after it.
__device__ __forceinline__ void InitBarrier(Barrier* barrier, int count) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;\n" ::"r"(SharedAddress(barrier)), "r"(count) : "memory");
}

__device__ __forceinline__ void Arrive(Barrier* barrier) {
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}\n" ::"r"(SharedAddress(barrier))
               : "memory");
}

// Arrives when all of this thread's copies so far (CopyAsync16) are done.
__device__ __forceinline__ void ArriveWithCopies(Barrier* barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];\n" ::"r"(SharedAddress(barrier)) : "memory");
}

// Whether the phase that is `phase`, counted modulo 2, is completed. It must be the current one or the one before.
__device__ __forceinline__ bool CompletedNow(Barrier* barrier, int phase) {
  uint32_t done;
  asm volatile("{\n.reg .pred p;\nmbarrier.test_wait.parity.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}\n"
               : "=r"(done)
               : "r"(SharedAddress(barrier)), "r"(phase)
               : "memory");
  return done != 0;
}
// The same; where the device can, the thread sleeps a little before the answer is no.
__device__ __forceinline__ bool Completed(Barrier* barrier, int phase) {
#if __CUDA_ARCH__ >= 900
  uint32_t done;
  asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}\n"
               : "=r"(done)
               : "r"(SharedAddress(barrier)), "r"(phase)
               : "memory");
  return done != 0;
#else
  return CompletedNow(barrier, phase);
#endif
}
__device__ __forceinline__ void WaitFor(Barrier* barrier, int phase) {
  while (!Completed(barrier, phase)) {
  }
}

#if __CUDA_ARCH__ >= 900
// The bulk copy engine, which one thread sets to work: `bytes` and both addresses are multiples of 16.
//
// By who has initialised a barrier that BulkLoad is to arrive at.
__device__ __forceinline__ void BarrierReadyForBulk() {
  asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
}
// From anywhere to shared memory. Arrives at `barrier` for the calling thread; the phase is completed when all bytes
// are there as well.
__device__ __forceinline__ void BulkLoad(void* to, const void* from, uint32_t bytes, Barrier* barrier) {
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;\n" ::"r"(SharedAddress(barrier)), "r"(bytes)
               : "memory");
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];\n" ::"r"(
                   SharedAddress(to)),
               "l"(from), "r"(bytes), "r"(SharedAddress(barrier))
               : "memory");
}
// From shared memory that BulkLoad has filled. Returns when `to` is written.
__device__ __forceinline__ void BulkStore(void* to, const void* from, uint32_t bytes) {
  asm volatile(
      "fence.proxy.async;\n"
      "cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;\n"
      "cp.async.bulk.commit_group;\n"
      "cp.async.bulk.wait_group 0;\n"
      "fence.proxy.async;\n" ::"l"(to),
      "r"(SharedAddress(from)), "r"(bytes)
      : "memory");
}
#endif

}  // namespace nosa::cuda
