// Rows of channels spread over the lanes of a warp, and the tokens a query reads: for the kernels of any shape of the
// ops on whole sequences.
#pragma once

#include "backend/cuda/device.cuh"
#include "backend/cuda/sequences.h"

namespace nosa::cuda {

inline constexpr int kMostLaneChannels = 8;  // channels a lane keeps: heads of up to 256

// Channel 32 i + lane of a row is x[i]; zeros from dim on.
struct LaneRow {
  float x[kMostLaneChannels];

  template <typename T>
  __device__ void Load(const T* rows, int64_t row, int dim, int lane) {
#pragma unroll
    for (int i = 0; i < kMostLaneChannels; ++i) {
      const int d = i * kWarpSize + lane;
      x[i] = d < dim ? LoadFloat(rows, row * dim + d) : 0.0f;
    }
  }
  template <typename T>
  __device__ void Store(T* rows, int64_t row, int dim, int lane) const {
#pragma unroll
    for (int i = 0; i < kMostLaneChannels; ++i) {
      const int d = i * kWarpSize + lane;
      if (d < dim) StoreFloat(rows, row * dim + d, x[i]);
    }
  }
  // Every lane gets it.
  __device__ float Dot(const LaneRow& other) const {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kMostLaneChannels; ++i) sum = fmaf(x[i], other.x[i], sum);
    return WarpSum(sum);
  }
  __device__ void Scale(float factor) {
#pragma unroll
    for (float& each : x) each *= factor;
  }
  __device__ void Add(float factor, const LaneRow& other) {
#pragma unroll
    for (int i = 0; i < kMostLaneChannels; ++i) x[i] = fmaf(factor, other.x[i], x[i]);
  }
};

// body(j) for the tokens j <= t whose block is in `mask`, ascending. The same for all lanes.
template <typename Body>
__device__ void ForReadTokens(const SequencePlan& plan, const uint64_t* mask, int t, Body&& body) {
  for (int b = 0; b * plan.block_size <= t; ++b) {
    if ((mask[b / 64] >> (b % 64) & 1) == 0) continue;
    const int end = min((b + 1) * plan.block_size, t + 1);
    for (int j = b * plan.block_size; j < end; ++j) body(j);
  }
}

}  // namespace nosa::cuda
