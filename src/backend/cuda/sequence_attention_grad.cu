// Any shape, on the general cores: a warp is one query of one head for dq, then one key for dk, dv and ds; its lanes
// are channels. No sum depends on the order in which warps run.
#include "ops/sequence_attention_grad.h"

#include "backend/cuda/device.cuh"
#include "backend/cuda/mma.cuh"
#include "backend/cuda/sequence_rows.cuh"
#include "backend/cuda/sequences.h"

namespace nosa::cuda {
namespace {

constexpr int kThreads = 128;

__device__ inline int64_t ItemOfWarp() {
  return static_cast<int64_t>(blockIdx.x) * (kThreads / kWarpSize) + threadIdx.x / kWarpSize;
}
__device__ inline int LaneOfThread() { return static_cast<int>(threadIdx.x) % kWarpSize; }

template <typename T>
__global__ void SumRows(SequencePlan plan) {
  const int64_t item = ItemOfWarp();
  if (item >= plan.rows() * plan.heads) return;
  LaneRow out, dout;
  out.Load(static_cast<const T*>(plan.out), item, plan.dim, LaneOfThread());
  dout.Load(static_cast<const T*>(plan.dout), item, plan.dim, LaneOfThread());
  const float mean = out.Dot(dout);
  if (LaneOfThread() == 0) plan.row_sums[item] = make_float2(TimesLog2E(plan.lse[item]), mean);
}

// The weight of a key for a query, and the gradient of its logit.
template <typename T>
__device__ float2 WeightAndGradient(const SequencePlan& plan, const LaneRow& q, const LaneRow& dout, const LaneRow& k,
                                    const LaneRow& v, int64_t key, float2 sums) {
  const float logit = q.Dot(k) * plan.scale + (plan.s != nullptr ? plan.s[key] : 0.0f);
  const float weight = ExpBelow(logit, sums.x);
  return make_float2(weight, weight * (dout.Dot(v) - sums.y));
}

template <typename T>
__global__ void QueryGradients(SequencePlan plan) {
  const int64_t item = ItemOfWarp();
  if (item >= plan.rows() * plan.heads) return;
  const int64_t row = item / plan.heads, first = row / plan.tokens * plan.tokens;
  const int kv_head = static_cast<int>(item % plan.heads) / plan.group, lane = LaneOfThread();
  LaneRow q, dout, dq = {};
  q.Load(static_cast<const T*>(plan.q), item, plan.dim, lane);
  dout.Load(static_cast<const T*>(plan.dout), item, plan.dim, lane);
  const float2 sums = plan.row_sums[item];
  ForReadTokens(plan, plan.Mask(row, kv_head), static_cast<int>(row - first), [&](int j) {
    const int64_t key = (first + j) * plan.kv_heads + kv_head;
    LaneRow k, v;
    k.Load(static_cast<const T*>(plan.k), key, plan.dim, lane);
    v.Load(static_cast<const T*>(plan.v), key, plan.dim, lane);
    dq.Add(WeightAndGradient<T>(plan, q, dout, k, v, key, sums).y * plan.scale, k);
  });
  dq.Store(static_cast<T*>(plan.dq), item, plan.dim, lane);
}

template <typename T>
__global__ void KeyGradients(SequencePlan plan) {
  const int64_t key = ItemOfWarp();
  if (key >= plan.rows() * plan.kv_heads) return;
  const int64_t row = key / plan.kv_heads, end = (row / plan.tokens + 1) * plan.tokens;
  const int kv_head = static_cast<int>(key % plan.kv_heads), lane = LaneOfThread();
  const int block = static_cast<int>(row % plan.tokens) / plan.block_size;
  LaneRow k, v, dk = {}, dv = {};
  k.Load(static_cast<const T*>(plan.k), key, plan.dim, lane);
  v.Load(static_cast<const T*>(plan.v), key, plan.dim, lane);
  float ds = 0;
  for (int64_t r = row; r < end; ++r) {
    if ((plan.Mask(r, kv_head)[block / 64] >> (block % 64) & 1) == 0) continue;
    for (int i = 0; i < plan.group; ++i) {
      const int64_t item = r * plan.heads + kv_head * plan.group + i;
      LaneRow q, dout;
      q.Load(static_cast<const T*>(plan.q), item, plan.dim, lane);
      dout.Load(static_cast<const T*>(plan.dout), item, plan.dim, lane);
      const float2 both = WeightAndGradient<T>(plan, q, dout, k, v, key, plan.row_sums[item]);
      dv.Add(both.x, dout);
      dk.Add(both.y * plan.scale, q);
      ds += both.y;
    }
  }
  dk.Store(static_cast<T*>(plan.dk), key, plan.dim, lane);
  dv.Store(static_cast<T*>(plan.dv), key, plan.dim, lane);
  if (lane == 0 && plan.ds != nullptr) plan.ds[key] = ds;
}

}  // namespace

void sequence_attention_grad(ops::Backend& backend, ops::Stream stream, const ops::SequenceAttentionGradArgs& args) {
  if (args.dq.rows() == 0) return;
  Context& context = ContextOf(backend);
  SequencePlan plan = MakeSequencePlan(args.forward);
  plan.dout = args.dout.bytes();
  plan.dq = args.dq.bytes();
  plan.dk = args.dk.bytes();
  plan.dv = args.dv.bytes();
  plan.ds = args.ds.empty() ? nullptr : args.ds.row<float>(0);
  const size_t sums = static_cast<size_t>(plan.rows() * plan.heads) * sizeof(float2);
  const size_t aligned = (sums + 255) / 256 * 256;
  char* scratch = static_cast<char*>(context.Scratch(aligned + SequenceGradScratch(plan), stream));
  plan.row_sums = reinterpret_cast<float2*>(scratch);
  const cudaStream_t on = context.stream(stream);
  const unsigned queries = GridFor(plan.rows() * plan.heads * kWarpSize, kThreads);
  const unsigned keys = GridFor(plan.rows() * plan.kv_heads * kWarpSize, kThreads);
  DispatchFloat(args.dq.dtype(), [&]<typename T>() {
    SumRows<T><<<queries, kThreads, 0, on>>>(plan);
    NOSA_CUDA_LAUNCHED();
    if (SequenceGradOnTensorCores(context, stream, plan, args.dq.dtype(), scratch + aligned)) return;
    QueryGradients<T><<<queries, kThreads, 0, on>>>(plan);
    NOSA_CUDA_LAUNCHED();
    KeyGradients<T><<<keys, kThreads, 0, on>>>(plan);
    NOSA_CUDA_LAUNCHED();
  });
}

}  // namespace nosa::cuda
