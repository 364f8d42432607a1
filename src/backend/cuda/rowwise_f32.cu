// Few rows of x times f32 weights. The tensor cores have no f32, so these are chains of fused multiply-adds: a warp
// takes some columns of y, each of its threads every 32nd group of four inputs.
#include <algorithm>

#include "backend/cuda/device.cuh"
#include "backend/cuda/rowwise_product.h"

namespace nosa::cuda {
namespace {

constexpr int kWarps = 4;        // of a block
constexpr int kWarpColumns = 2;  // each input that is loaded serves them all
constexpr int kColumns = kWarps * kWarpColumns;

// Four elements from k on, zeros beyond `width`. kVector: rows start at multiples of 16 bytes, and `width` is a
// multiple of 4.
template <bool kVector>
__device__ float4 LoadFour(const float* row, int k, int width) {
  if constexpr (kVector) return Load4(row + k);
  const auto at = [&](int i) { return i < width ? row[i] : 0.0f; };
  return make_float4(at(k), at(k + 1), at(k + 2), at(k + 3));
}

// A block computes kColumns columns of one term for kRows rows.
template <int kRows, bool kVector>
__global__ void __launch_bounds__(kWarps* kWarpSize) RowwiseF32Kernel(RowwiseLaunch<float> launch) {
  const int width = launch.inputs.width, rows = launch.inputs.rows;
  const int row_blocks = (rows + kRows - 1) / kRows;
  const int tile = static_cast<int>(blockIdx.x) / row_blocks;
  const int first_row = static_cast<int>(blockIdx.x) % row_blocks * kRows;
  int index = 0;
  while (index + 1 < launch.count && tile >= launch.terms[index + 1].first_tile) ++index;
  const RowwiseTerm& term = launch.terms[index];
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int first_column = (tile - term.first_tile) * kColumns + warp * kWarpColumns;
  if (first_column >= term.columns) return;

  // Beyond the last row or column, the last one again: nobody looks at what comes of it.
  const float* w_rows[kWarpColumns];
  const float* x_rows[kRows];
#pragma unroll
  for (int c = 0; c < kWarpColumns; ++c) {
    w_rows[c] = static_cast<const float*>(term.w) + min(first_column + c, term.columns - 1) * term.w_stride;
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) x_rows[r] = launch.inputs.x + min(first_row + r, rows - 1) * launch.inputs.stride;

  float sums[kRows][kWarpColumns] = {};
#pragma unroll 2
  for (int k = lane * 4; k < width; k += kWarpSize * 4) {
    float4 w[kWarpColumns];
#pragma unroll
    for (int c = 0; c < kWarpColumns; ++c) w[c] = LoadFour<kVector>(w_rows[c], k, width);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const float4 x = LoadFour<kVector>(x_rows[r], k, width);
#pragma unroll
      for (int c = 0; c < kWarpColumns; ++c) {
        sums[r][c] = fmaf(x.w, w[c].w, fmaf(x.z, w[c].z, fmaf(x.y, w[c].y, fmaf(x.x, w[c].x, sums[r][c]))));
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int c = 0; c < kWarpColumns; ++c) {
      const float sum = WarpSum(sums[r][c]);
      if (lane != 0 || first_row + r >= rows || first_column + c >= term.columns) continue;
      float& y = term.y[(first_row + r) * term.y_stride + first_column + c];
      y = term.accumulate ? y + sum : sum;
    }
  }
}

template <int kRows, bool kVector>
void LaunchKernel(cudaStream_t stream, const RowwiseInputs<float>& inputs, std::span<const RowwiseTerm> terms) {
  const RowwiseLaunch<float> launch = MakeRowwiseLaunch(inputs, terms, kColumns);
  const int64_t blocks = launch.tiles * CeilDiv(inputs.rows, kRows);
  RowwiseF32Kernel<kRows, kVector><<<static_cast<unsigned>(blocks), kWarps * kWarpSize, 0, stream>>>(launch);
  NOSA_CUDA_LAUNCHED();
}

}  // namespace

void RowwiseF32(Context& context, ops::Stream stream, const RowwiseInputs<float>& inputs,
                std::span<const RowwiseTerm> terms) {
  const bool vector = inputs.width % 4 == 0 && FoursAligned(inputs.x, inputs.stride) &&
                      std::all_of(terms.begin(), terms.end(), [](const RowwiseTerm& term) {
                        return FoursAligned(static_cast<const float*>(term.w), term.w_stride);
                      });
  const bool one = inputs.rows == 1;
  const auto launch = vector ? (one ? LaunchKernel<1, true> : LaunchKernel<kFewRows, true>)
                             : (one ? LaunchKernel<1, false> : LaunchKernel<kFewRows, false>);
  launch(context.stream(stream), inputs, terms);
}

}  // namespace nosa::cuda
