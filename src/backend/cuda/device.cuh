// What the kernels of this room share: bf16 in memory and float in registers, sums and maxima of a warp or a block in
// a fixed order, keys that order like floats.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "tensor/dtype.h"

namespace nosa::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

// Of kernels that Launch (context.h) starts early. Waits until the kernels before this one on the stream have ended and
// what they wrote can be read. Every block calls it, before it reads what another kernel of the step writes, and before
// it writes.
__device__ __forceinline__ void WaitForPrevious() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// Once every block of this kernel has said so, or ended, the next kernel may take the room that is left. It still waits
// for the end of this one.
__device__ __forceinline__ void LetNextStart() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// body.operator()<T>() for the type of weights or of a cache: float or BFloat16.
template <typename Body>
void DispatchFloat(DType dtype, Body body) {
  if (dtype == DType::kF32) {
    body.template operator()<float>();
  } else {
    body.template operator()<BFloat16>();
  }
}

// Blocks of `threads` for `items`; grid.x takes up to 2^31 - 1 of them, grid.y and grid.z only 65,535.
inline unsigned GridFor(int64_t items, int threads) { return static_cast<unsigned>((items + threads - 1) / threads); }

__device__ inline float ToFloat(float value) { return value; }
__device__ inline float ToFloat(BFloat16 value) { return __uint_as_float(static_cast<uint32_t>(value.bits) << 16); }

// Rounds as BFloat16(float) does on the host, NaN's bits included.
template <typename T>
__device__ inline T FromFloat(float value);
template <>
__device__ inline float FromFloat<float>(float value) {
  return value;
}
template <>
__device__ inline BFloat16 FromFloat<BFloat16>(float value) {
  BFloat16 rounded;
  rounded.bits = isnan(value) ? static_cast<uint16_t>((__float_as_uint(value) >> 16) | 0x40u)
                              : __bfloat16_as_ushort(__float2bfloat16_rn(value));
  return rounded;
}

template <typename T>
__device__ inline float LoadFloat(const T* data, int64_t i) {
  return ToFloat(data[i]);
}
template <typename T>
__device__ inline void StoreFloat(T* data, int64_t i, float value) {
  data[i] = FromFloat<T>(value);
}

// Whether every group of four elements of rows that start at `data` and lie `stride` elements apart can be loaded at
// once.
template <typename T>
__host__ __device__ inline bool FoursAligned(const T* data, int64_t stride) {
  return reinterpret_cast<uintptr_t>(data) % (4 * sizeof(T)) == 0 && stride % 4 == 0;
}

// Four elements, aligned as FoursAligned says.
__device__ inline float4 Load4(const float* data) { return *reinterpret_cast<const float4*>(data); }
__device__ inline float4 Load4(const BFloat16* data) {
  const uint2 words = *reinterpret_cast<const uint2*>(data);
  return make_float4(__uint_as_float(words.x << 16), __uint_as_float(words.x & 0xffff0000u),
                     __uint_as_float(words.y << 16), __uint_as_float(words.y & 0xffff0000u));
}
__device__ inline void Store4(float* data, float4 value) { *reinterpret_cast<float4*>(data) = value; }
__device__ inline void Store4(BFloat16* data, float4 value) {
  const auto pair = [](float low, float high) {
    return FromFloat<BFloat16>(low).bits | static_cast<uint32_t>(FromFloat<BFloat16>(high).bits) << 16;
  };
  *reinterpret_cast<uint2*>(data) = make_uint2(pair(value.x, value.y), pair(value.z, value.w));
}

struct Add {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
// NaN loses.
struct Greater {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};

// Every lane gets the result. All lanes must call.
template <typename T, typename Op>
__device__ inline T WarpReduce(T value, Op op) {
#pragma unroll
  for (int other = kWarpSize / 2; other > 0; other /= 2) value = op(value, __shfl_xor_sync(kAllLanes, value, other));
  return value;
}
template <typename T>
__device__ inline T WarpSum(T value) {
  return WarpReduce(value, Add());
}
template <typename T>
__device__ inline T WarpMax(T value) {
  return WarpReduce(value, Greater());
}

// Every thread gets the result. All threads of the block must call; blockDim.x is a multiple of a warp, and y and z are
// 1. May be called again at once.
template <typename T, typename Op>
__device__ inline T BlockReduce(T value, Op op) {
  __shared__ T warps[kWarpSize];
  value = WarpReduce(value, op);
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, count = static_cast<int>(blockDim.x) / kWarpSize;
  __syncthreads();  // the call before has been read
  if (threadIdx.x % kWarpSize == 0) warps[warp] = value;
  __syncthreads();
  value = warps[0];
  for (int i = 1; i < count; ++i) value = op(value, warps[i]);
  return value;
}
template <typename T>
__device__ inline T BlockSum(T value) {
  return BlockReduce(value, Add());
}
template <typename T>
__device__ inline T BlockMax(T value) {
  return BlockReduce(value, Greater());
}

// Orders like the floats do, -inf least, the two zeros equal, every key of a number above 0; 0 for NaN.
__device__ inline uint32_t OrderedKey(float value) {
  if (isnan(value)) return 0;
  const uint32_t word = __float_as_uint(value + 0.0f);  // -0 + 0 is +0
  return word ^ ((word >> 31) != 0 ? 0xffffffffu : 0x80000000u);
}

}  // namespace nosa::cuda
