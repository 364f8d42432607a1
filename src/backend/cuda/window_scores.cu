// Any shape, on the general cores: a thread is a window of a split, and computes its logits for some heads at a time.
// Twice: first for each split's greatest logit and sum, then for the probabilities, which costs less than keeping
// rows x heads x windows of logits.
#include "ops/window_scores.h"

#include <cuda_bf16.h>

#include <algorithm>

#include "backend/cuda/window_scores.h"

namespace nosa::cuda {
namespace {

constexpr int kWarp = 32, kWarps = kSplit / kWarp;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kHeads = 4;  // of one pass over the keys

__device__ __forceinline__ float Widen(float x) { return x; }
__device__ __forceinline__ float Widen(__nv_bfloat16 x) { return __bfloat162float(x); }

// Logits of one window for kHeads heads; `q`: [dim, kHeads] in shared memory.
template <typename T>
__device__ __forceinline__ void Logits(const WindowPlan& plan, const T* keys, int window, const float* q,
                                       float (&logits)[kHeads]) {
  const T* key =
      keys + static_cast<int64_t>(window / ops::kWindowTile) * plan.dim * ops::kWindowTile + window % ops::kWindowTile;
#pragma unroll
  for (float& logit : logits) logit = 0;
  for (int d = 0; d < plan.dim; ++d) {
    const float k = Widen(key[d * ops::kWindowTile]);
#pragma unroll
    for (int i = 0; i < kHeads; ++i) logits[i] = fmaf(q[d * kHeads + i], k, logits[i]);
  }
#pragma unroll
  for (float& logit : logits) logit *= plan.scale;
}

// Heads [first, first + kHeads) of a row's KV head, zeros beyond its group.
__device__ __forceinline__ void LoadHeads(const WindowPlan& plan, int64_t row, int kv_head, int first, float* q) {
  const int group = plan.heads / plan.kv_heads;
  const float* from = plan.q + row * plan.q_stride + static_cast<int64_t>(kv_head) * group * plan.dim;
  for (int i = static_cast<int>(threadIdx.x); i < kHeads * plan.dim; i += kSplit) {
    const int head = first + i / plan.dim, d = i % plan.dim;
    q[d * kHeads + i / plan.dim] = head < group ? from[static_cast<int64_t>(head) * plan.dim + d] : 0.0f;
  }
}

// Blocks (row and KV head, split) of kSplit threads.
template <typename T>
__global__ void ScoreSplits(WindowPlan plan) {
  extern __shared__ float q[];  // [dim, kHeads]
  __shared__ float of_warps[kHeads][kWarps];
  const int64_t row = blockIdx.x / static_cast<unsigned>(plan.kv_heads);
  const int kv_head = static_cast<int>(blockIdx.x % static_cast<unsigned>(plan.kv_heads));
  const ops::WindowScoresArgs::Row of_row = plan.rows[row];
  const int first_window = static_cast<int>(blockIdx.y) * kSplit, thread = static_cast<int>(threadIdx.x);
  if (first_window >= of_row.windows) return;
  const T* keys = static_cast<const T*>(plan.states[of_row.state_begin + kv_head].keys);
  const int group = plan.heads / plan.kv_heads, window = first_window + thread;
  const int warp = thread / kWarp, lane = thread % kWarp;
  for (int first = 0; first < group; first += kHeads) {
    __syncthreads();
    LoadHeads(plan, row, kv_head, first, q);
    __syncthreads();
    float logits[kHeads], max[kHeads], sum[kHeads];
    if (window < of_row.windows) Logits(plan, keys, window, q, logits);
#pragma unroll
    for (int i = 0; i < kHeads; ++i) {
      if (window >= of_row.windows) logits[i] = -INFINITY;
      max[i] = logits[i];
      for (int o = kWarp / 2; o > 0; o /= 2) max[i] = fmaxf(max[i], __shfl_xor_sync(kAllLanes, max[i], o));
      if (lane == 0) of_warps[i][warp] = max[i];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kHeads; ++i) {
      for (int w = 0; w < kWarps; ++w) max[i] = fmaxf(max[i], of_warps[i][w]);
      sum[i] = expf(logits[i] - max[i]);
      for (int o = kWarp / 2; o > 0; o /= 2) sum[i] += __shfl_xor_sync(kAllLanes, sum[i], o);
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kHeads; ++i) {
      if (lane == 0) of_warps[i][warp] = sum[i];
    }
    __syncthreads();
    if (thread == 0) {
#pragma unroll
      for (int i = 0; i < kHeads; ++i) {
        if (first + i >= group) continue;
        float total = 0;
        for (int w = 0; w < kWarps; ++w) total += of_warps[i][w];
        plan.parts[(row * plan.heads + kv_head * group + first + i) * plan.splits + blockIdx.y] = {max[i], total};
      }
    }
  }
}

template <typename T>
__global__ void AddHeads(WindowPlan plan) {
  extern __shared__ float q[];  // [dim, kHeads]
  __shared__ SplitSoftmax of_heads[kHeads];
  const int64_t row = blockIdx.x / static_cast<unsigned>(plan.kv_heads);
  const int kv_head = static_cast<int>(blockIdx.x % static_cast<unsigned>(plan.kv_heads));
  const ops::WindowScoresArgs::Row of_row = plan.rows[row];
  const int first_window = static_cast<int>(blockIdx.y) * kSplit, thread = static_cast<int>(threadIdx.x);
  if (first_window >= of_row.windows) return;
  const T* keys = static_cast<const T*>(plan.states[of_row.state_begin + kv_head].keys);
  const int group = plan.heads / plan.kv_heads, window = first_window + thread;
  const int warp = thread / kWarp, lane = thread % kWarp;
  const int splits = (of_row.windows + kSplit - 1) / kSplit;
  float total = 0;
  for (int first = 0; first < group; first += kHeads) {
    __syncthreads();
    LoadHeads(plan, row, kv_head, first, q);
    static_assert(kWarps >= kHeads, "a warp joins the splits of one head");
    if (warp < kHeads && first + warp < group) {
      const SplitSoftmax* parts = plan.parts + (row * plan.heads + kv_head * group + first + warp) * plan.splits;
      float max = -INFINITY, sum = 0;
      for (int s = lane; s < splits; s += kWarp) max = fmaxf(max, parts[s].max);
      for (int o = kWarp / 2; o > 0; o /= 2) max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, o));
      for (int s = lane; s < splits; s += kWarp) sum += parts[s].sum * expf(parts[s].max - max);
      for (int o = kWarp / 2; o > 0; o /= 2) sum += __shfl_xor_sync(kAllLanes, sum, o);
      if (lane == 0) of_heads[warp] = {max, sum};
    }
    __syncthreads();
    if (window < of_row.windows) {
      float logits[kHeads];
      Logits(plan, keys, window, q, logits);
#pragma unroll
      for (int i = 0; i < kHeads; ++i) {
        if (first + i < group) total += expf(logits[i] - of_heads[i].max) / of_heads[i].sum;
      }
    }
  }
  if (window < of_row.windows)
    plan.p[row * plan.p_stride + static_cast<int64_t>(kv_head) * plan.width + window] = total;
}

template <typename T>
void LaunchAny(Context& context, ops::Stream stream, const WindowPlan& plan) {
  const size_t shared = static_cast<size_t>(plan.dim) * kHeads * sizeof(float);
  NOSA_CHECK(shared <= size_t{40} << 10, "heads of {} channels are more than this device's shared memory", plan.dim);
  const dim3 grid(static_cast<unsigned>(plan.row_count * plan.kv_heads), static_cast<unsigned>(plan.splits));
  ScoreSplits<T><<<grid, kSplit, shared, context.stream(stream)>>>(plan);
  NOSA_CUDA_LAUNCHED();
  AddHeads<T><<<grid, kSplit, shared, context.stream(stream)>>>(plan);
  NOSA_CUDA_LAUNCHED();
}

}  // namespace

void window_scores(ops::Backend& backend, ops::Stream stream, const ops::WindowScoresArgs& args) {
  const int64_t rows = args.q.rows(), width = args.p.dim(2);
  if (rows == 0 || width == 0) return;
  Context& context = ContextOf(backend);
  WindowPlan plan = {.q = args.q.row<float>(0),
                     .q_stride = args.q.row_stride(),
                     .rows = context.Stage(args.rows, stream),
                     .states = context.Stage(args.states, stream),
                     .p = args.p.row<float>(0),
                     .p_stride = args.p.row_stride(),
                     .parts = nullptr,
                     .scale = args.scale,
                     .row_count = static_cast<int>(rows),
                     .heads = static_cast<int>(args.q.dim(1)),
                     .kv_heads = args.kv_heads,
                     .dim = static_cast<int>(args.q.dim(2)),
                     .width = static_cast<int>(width),
                     .splits = static_cast<int>(CeilDiv(width, kSplit)),
                     .sequences = std::max(1, static_cast<int>(args.states.size()) / args.kv_heads)};
  const int64_t parts = rows * plan.heads * plan.splits;
  plan.parts = static_cast<SplitSoftmax*>(context.Scratch(static_cast<size_t>(parts) * sizeof(SplitSoftmax), stream));
  if (WindowScoresOnTensorCores(context, stream, plan, args.summary_dtype)) return;
  if (args.summary_dtype == DType::kF32) {
    LaunchAny<float>(context, stream, plan);
  } else {
    LaunchAny<__nv_bfloat16>(context, stream, plan);
  }
}

}  // namespace nosa::cuda
