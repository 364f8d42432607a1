#include "ops/merge_splits.h"

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

// One CTA per row and head, a thread per channel.
template <typename Y>
__global__ void MergeSplits(ops::PartialStates states, int splits, Y* out, int64_t out_stride) {
  const int head = static_cast<int>(blockIdx.x), row = static_cast<int>(blockIdx.y);
  const int heads = static_cast<int>(gridDim.x), h = head % states.heads;
  const int64_t first = (static_cast<int64_t>(row) * (heads / states.heads) + head / states.heads) * splits;
  float max = -INFINITY;
#pragma unroll 8
  for (int i = 0; i < splits; ++i) max = fmaxf(max, states.m[(first + i) * states.heads + h]);
  for (int c = static_cast<int>(threadIdx.x); c < states.v_dim; c += static_cast<int>(blockDim.x)) {
    float sum = 0, acc = 0;
    // No branch, so that several parts are loaded side by side; an empty one counts nothing.
#pragma unroll 8
    for (int i = 0; i < splits; ++i) {
      const int64_t at = (first + i) * states.heads + h;
      const float scale = states.m[at] == -INFINITY ? 0.0f : expf(states.m[at] - max);
      sum += states.l[at] * scale;
      acc += states.acc[at * states.v_dim + c] * scale;
    }
    StoreFloat(out, row * out_stride + static_cast<int64_t>(head) * states.v_dim + c, sum == 0 ? 0.0f : acc / sum);
  }
}

}  // namespace

void merge_splits(ops::Backend& backend, ops::Stream stream, const ops::MergeSplitsArgs& args) {
  if (args.out.rows() == 0) return;
  Context& context = ContextOf(backend);
  const dim3 grid(static_cast<unsigned>(args.out.dim(1)), static_cast<unsigned>(args.out.rows()));
  const unsigned threads = static_cast<unsigned>((args.states.v_dim + kWarpSize - 1) / kWarpSize * kWarpSize);
  DispatchFloat(args.out.dtype(), [&]<typename Y>() {
    MergeSplits<Y><<<grid, threads, 0, context.stream(stream)>>>(args.states, args.splits, args.out.row<Y>(0),
                                                                 args.out.row_stride());
  });
  NOSA_CUDA_LAUNCHED();
}

}  // namespace nosa::cuda
