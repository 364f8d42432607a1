#include "ops/merge_states.h"

#include <algorithm>
#include <cmath>

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"
#include "backend/cuda/partial_merge.cuh"

namespace nosa::cuda {
namespace {

// Parts that are loaded side by side, before they are merged one after the other.
constexpr int kAhead = 4;

// A block an output head, a thread a channel (or several). Every thread keeps m and l for itself.
__global__ void MergeStates(ops::PartialStates states, const int32_t* offsets, const int32_t* order, float* out,
                            int64_t out_stride, int kv_heads) {
  const int heads = kv_heads * states.heads;
  const int64_t row = blockIdx.x / heads;
  const int head = static_cast<int>(blockIdx.x % heads);
  const int64_t list = row * kv_heads + head / states.heads;
  const int begin = offsets[list], end = offsets[list + 1];
  for (int c = static_cast<int>(threadIdx.x); c < states.v_dim; c += static_cast<int>(blockDim.x)) {
    float m = -INFINITY, l = 0.0f, acc = 0.0f;
    for (int first = begin; first < end; first += kAhead) {
      float part_m[kAhead], part_l[kAhead], part_acc[kAhead];
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        part_m[j] = -INFINITY;
        if (first + j >= end) continue;
        const int64_t i = static_cast<int64_t>(order[first + j]) * states.heads + head % states.heads;
        part_m[j] = states.m[i];
        part_l[j] = states.l[i];
        part_acc[j] = states.acc[i * states.v_dim + c];
      }
#pragma unroll
      for (int j = 0; j < kAhead; ++j) {
        if (part_m[j] == -INFINITY) continue;
        if (m == -INFINITY) {
          m = part_m[j];
          l = part_l[j];
          acc = part_acc[j];
          continue;
        }
        const MergeFactors f = FactorsOf(m, part_m[j]);
        m = f.m;
        l = MergeValues(l, f.first, part_l[j], f.second);
        acc = MergeValues(acc, f.first, part_acc[j], f.second);
      }
    }
    out[row * out_stride + static_cast<int64_t>(head) * states.v_dim + c] = l == 0.0f ? 0.0f : acc / l;
  }
}

}  // namespace

void merge_states(ops::Backend& backend, ops::Stream stream, const ops::MergeStatesArgs& args) {
  const int64_t blocks = args.out.rows() * args.out.dim(1);
  if (blocks * args.states.v_dim == 0) return;
  Context& context = ContextOf(backend);
  const int32_t* offsets = context.Stage(args.offsets, stream);
  const int32_t* order = context.Stage(args.order, stream);
  const auto threads = static_cast<unsigned>(
      std::min<uint64_t>(RoundUp(static_cast<uint64_t>(args.states.v_dim), static_cast<uint64_t>(kWarpSize)), 256));
  MergeStates<<<static_cast<unsigned>(blocks), threads, 0, context.stream(stream)>>>(
      args.states, offsets, order, args.out.row<float>(0), args.out.row_stride(), args.kv_heads);
  NOSA_CUDA_LAUNCHED();
}

}  // namespace nosa::cuda
