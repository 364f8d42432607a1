// Any shape, on the general cores: a warp is one query of one head, its lanes are channels.
#include "ops/sequence_attention.h"

#include "backend/cuda/device.cuh"
#include "backend/cuda/sequence_rows.cuh"
#include "backend/cuda/sequences.h"

namespace nosa::cuda {
namespace {

template <typename T>
__global__ void Attend(SequencePlan plan) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * (blockDim.x / kWarpSize) + threadIdx.x / kWarpSize;
  if (item >= plan.rows() * plan.heads) return;
  const int64_t row = item / plan.heads, first = row / plan.tokens * plan.tokens;
  const int head = static_cast<int>(item % plan.heads), kv_head = head / plan.group;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  LaneRow q, out = {};
  q.Load(static_cast<const T*>(plan.q), item, plan.dim, lane);
  float most = -INFINITY, sum = 0;
  ForReadTokens(plan, plan.Mask(row, kv_head), static_cast<int>(row - first), [&](int j) {
    const int64_t key = (first + j) * plan.kv_heads + kv_head;
    LaneRow k, v;
    k.Load(static_cast<const T*>(plan.k), key, plan.dim, lane);
    v.Load(static_cast<const T*>(plan.v), key, plan.dim, lane);
    const float logit = q.Dot(k) * plan.scale + (plan.s != nullptr ? plan.s[key] : 0.0f);
    const float greater = fmaxf(most, logit), keep = expf(most - greater), weight = expf(logit - greater);
    sum = sum * keep + weight;
    out.Scale(keep);
    out.Add(weight, v);
    most = greater;
  });
  out.Scale(sum > 0 ? 1.0f / sum : 0.0f);
  out.Store(static_cast<T*>(plan.out), item, plan.dim, lane);
  if (lane == 0) plan.lse[item] = sum > 0 ? most + logf(sum) : -INFINITY;
}

}  // namespace

SequencePlan MakeSequencePlan(const ops::SequenceAttentionArgs& args) {
  const ops::SequenceSizes size = ops::SizesOf(args.q, args.tokens, args.k.dim(1), "q");
  NOSA_CHECK(size.dim <= kMostLaneChannels * kWarpSize, "heads of {} channels are more than these kernels keep",
             size.dim);
  SequencePlan plan = {};
  plan.q = args.q.bytes();
  plan.k = args.k.bytes();
  plan.v = args.v.bytes();
  plan.s = args.s.empty() ? nullptr : args.s.row<float>(0);
  plan.masks = args.masks.row<uint64_t>(0);
  plan.out = args.out.bytes();
  plan.lse = args.lse.row<float>(0);
  plan.sequences = static_cast<int>(size.sequences);
  plan.tokens = args.tokens;
  plan.heads = static_cast<int>(size.heads);
  plan.kv_heads = static_cast<int>(size.kv_heads);
  plan.group = static_cast<int>(size.group);
  plan.dim = static_cast<int>(size.dim);
  plan.block_size = args.block_size;
  plan.words = static_cast<int>(args.masks.dim(2));
  plan.scale = args.scale;
  return plan;
}

void sequence_attention(ops::Backend& backend, ops::Stream stream, const ops::SequenceAttentionArgs& args) {
  if (args.q.rows() == 0) return;
  Context& context = ContextOf(backend);
  const SequencePlan plan = MakeSequencePlan(args);
  if (SequenceAttentionOnTensorCores(context, stream, plan, args.q.dtype())) return;
  constexpr int kThreads = 128;
  const unsigned grid = GridFor(plan.rows() * plan.heads * kWarpSize, kThreads);
  DispatchFloat(args.q.dtype(), [&]<typename T>() { Attend<T><<<grid, kThreads, 0, context.stream(stream)>>>(plan); });
  NOSA_CUDA_LAUNCHED();
}

}  // namespace nosa::cuda
