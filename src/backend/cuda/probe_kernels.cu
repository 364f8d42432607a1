#include "backend/cuda/probe_kernels.h"

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

constexpr int kThreads = 256, kBlocks = 1024;

// A finalizer of MurmurHash3 (public domain): neighbours get unrelated words. What is copied must not be compressible,
// and products draw less power on zeros.
__device__ uint32_t Hash(uint64_t i, uint32_t seed) {
  uint32_t h = static_cast<uint32_t>(i) ^ static_cast<uint32_t>(i >> 32) * 0x9e3779b9u ^ seed * 0x85ebca6bu;
  h = (h ^ h >> 16) * 0x85ebca6bu;
  h = (h ^ h >> 13) * 0xc2b2ae35u;
  return h ^ h >> 16;
}

__global__ void Words(uint32_t* words, size_t count, uint32_t seed) {
  for (size_t i = blockIdx.x * size_t{kThreads} + threadIdx.x; i < count; i += size_t{gridDim.x} * kThreads) {
    words[i] = Hash(i, seed);
  }
}

template <typename T>
__global__ void Uniform(T* values, size_t count, float scale, uint32_t seed) {
  for (size_t i = blockIdx.x * size_t{kThreads} + threadIdx.x; i < count; i += size_t{gridDim.x} * kThreads) {
    const float unit = static_cast<float>(Hash(i, seed) >> 8) * 0x1p-23f - 1.0f;
    StoreFloat(values, static_cast<int64_t>(i), unit * scale);
  }
}

__global__ void Empty() {}

}  // namespace

void FillRandom(uint32_t* words, size_t count, uint32_t seed, cudaStream_t stream) {
  Words<<<kBlocks, kThreads, 0, stream>>>(words, count, seed);
  NOSA_CUDA_LAUNCHED();
}

void FillUniform(float* values, size_t count, float scale, uint32_t seed, cudaStream_t stream) {
  Uniform<<<kBlocks, kThreads, 0, stream>>>(values, count, scale, seed);
  NOSA_CUDA_LAUNCHED();
}

void FillUniform(BFloat16* values, size_t count, float scale, uint32_t seed, cudaStream_t stream) {
  Uniform<<<kBlocks, kThreads, 0, stream>>>(values, count, scale, seed);
  NOSA_CUDA_LAUNCHED();
}

void LaunchEmpty(cudaStream_t stream) {
  Empty<<<1, 1, 0, stream>>>();
  NOSA_CUDA_LAUNCHED();
}

}  // namespace nosa::cuda
