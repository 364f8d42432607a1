// How two partial attention states merge, in one place: block_attention and merge_states must give the same bits.
// For .cu files of this room only.
#pragma once

#include <cuda_runtime.h>

namespace nosa::cuda {

// Factors of the first and the second state when they merge, the second not empty; `m` of the result. An empty first
// state has the factor 0, which leaves the other's bits when the empty one holds l = 0 and acc = -0.0f.
struct MergeFactors {
  float m, first, second;
};
__device__ __forceinline__ MergeFactors FactorsOf(float m1, float m2) {
  const float m = fmaxf(m1, m2), lesser = expf(__fsub_rn(fminf(m1, m2), m));
  return m1 < m2 ? MergeFactors{m, lesser, 1.0f} : MergeFactors{m, 1.0f, lesser};
}

// a * first + b * second with one rounding in the sum. Spelled out, because a compiler that fuses by itself does so
// differently from place to place.
__device__ __forceinline__ float MergeValues(float a, float first, float b, float second) {
  return __fmaf_rn(b, second, __fmul_rn(a, first));
}

}  // namespace nosa::cuda
