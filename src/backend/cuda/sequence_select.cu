// Scores of blocks by queries (any shape here, or on tensor cores), then the sets, a warp each.
#include "ops/sequence_select.h"

#include <algorithm>

#include "backend/cuda/device.cuh"
#include "backend/cuda/sequences.h"

namespace nosa::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarpSize;
constexpr size_t kScoreBytes = size_t{64} << 20;  // of the block scores that are kept at once

// Any shape: CTAs (row, KV head), a thread a window. Shared memory: [windows] sums over the heads, [windows] logits.
template <typename T>
__global__ void Score(SequenceScorePlan plan) {
  extern __shared__ float windows[];
  float *sums = windows, *logits = windows + plan.windows;
  const int64_t row = plan.row0 + blockIdx.x / static_cast<unsigned>(plan.kv_heads);
  const int kv_head = static_cast<int>(blockIdx.x % static_cast<unsigned>(plan.kv_heads));
  const int visible = plan.Visible(static_cast<int>(row % plan.tokens)), thread = static_cast<int>(threadIdx.x);
  const int64_t first_window = row / plan.tokens * plan.windows;
  for (int w = thread; w < visible; w += kThreads) sums[w] = 0;
  for (int h = kv_head * plan.group; h < (kv_head + 1) * plan.group; ++h) {
    const T* q = static_cast<const T*>(plan.q) + (row * plan.heads + h) * plan.dim;
    float most = -INFINITY, sum = 0;
    for (int w = thread; w < visible; w += kThreads) {
      const T* key = static_cast<const T*>(plan.keys) + ((first_window + w) * plan.kv_heads + kv_head) * plan.dim;
      float dot = 0;
      for (int d = 0; d < plan.dim; ++d) dot = fmaf(LoadFloat(q, d), LoadFloat(key, d), dot);
      logits[w] = dot * plan.scale;
      most = fmaxf(most, logits[w]);
    }
    most = BlockMax(most);
    for (int w = thread; w < visible; w += kThreads) sum += logits[w] = expf(logits[w] - most);
    sum = BlockSum(sum);
    for (int w = thread; w < visible; w += kThreads) sums[w] += logits[w] / sum;
  }
  __syncthreads();
  float* scores = plan.scores + ((row - plan.row0) * plan.kv_heads + kv_head) * plan.blocks;
  for (int b = thread; b < plan.blocks; b += kThreads) {
    const int first = max(0, b * plan.windows_per_block - 1), last = min((b + 1) * plan.windows_per_block, visible) - 1;
    float best = -INFINITY;
    for (int w = first; w <= last; ++w) best = fmaxf(best, sums[w]);
    scores[b] = best;
  }
}

// importance[sequence, KV head, block] = the largest sigma of the block's windows: all of them, as a block that is not
// forced lies before the local ones, and its windows are complete.
__global__ void ScoreImportance(const float* sigma, float* importance, int sequences, int kv_heads, int windows,
                                int blocks, int windows_per_block) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= sequences * kv_heads * blocks) return;
  const int block = i % blocks, lane = i / blocks, sequence = lane / kv_heads, kv_head = lane % kv_heads;
  const int first = max(0, block * windows_per_block - 1), last = min((block + 1) * windows_per_block, windows) - 1;
  float best = -INFINITY;
  for (int w = first; w <= last; ++w)
    best = fmaxf(best, sigma[(static_cast<int64_t>(sequence) * windows + w) * kv_heads + kv_head]);
  importance[i] = best;
}

// The blocks with the `wanted` largest keys join: block 32 i + lane has keys[i], 0 who does not compete. Ties go to the
// lower block.
template <int kEach>
__device__ __forceinline__ void Join(const uint32_t (&keys)[kEach], int wanted, uint32_t (&members)[kEach]) {
  if (wanted <= 0) return;
  // The largest key that `wanted` of them reach.
  uint32_t least = 0;
  for (int bit = 31; bit >= 0; --bit) {
    const uint32_t tried = least | 1u << bit;
    int count = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) count += keys[i] >= tried ? 1 : 0;
    if (__reduce_add_sync(kAllLanes, count) >= wanted) least = tried;
  }
  int above = 0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) above += keys[i] > least ? 1 : 0;
  int ties = wanted - __reduce_add_sync(kAllLanes, above);
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    members[i] |= __ballot_sync(kAllLanes, keys[i] > least);
    uint32_t equal = __ballot_sync(kAllLanes, keys[i] == least && keys[i] != 0);
    for (; ties > 0 && equal != 0; --ties, equal &= equal - 1) members[i] |= equal & (0u - equal);
  }
}

struct SetPlan {
  ops::SelectionRule rule;
  const float *scores, *importance;  // of the rows here; of all. Null: its stage is left out
  uint64_t* masks;                   // of all rows
  int64_t row0, rows;
  int tokens, kv_heads, blocks, words, block_size;
};

// A warp a row and KV head. members[i]: blocks 32 i to 32 i + 31, the same in all lanes.
template <int kEach>
__global__ void SelectSets(SetPlan plan) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarpSize;
  if (item >= plan.rows * plan.kv_heads) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize, kv_head = static_cast<int>(item % plan.kv_heads);
  const int64_t row = plan.row0 + item / plan.kv_heads;
  const int own = static_cast<int>(row % plan.tokens) / plan.block_size;
  uint32_t members[kEach];
  int present = 0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int b = i * kWarpSize + lane;
    members[i] = __ballot_sync(kAllLanes, b <= own && (b < plan.rule.init_blocks || b >= own - plan.rule.local_blocks));
    present += __popc(members[i]);
  }
  const auto fill = [&](const float* scores, int wanted) {
    wanted = min(wanted, own + 1) - present;
    if (wanted <= 0) return;
    uint32_t keys[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int b = i * kWarpSize + lane;
      const bool competes = b <= own && (members[i] >> lane & 1) == 0;
      keys[i] = competes ? max(OrderedKey(scores[b]), 1u) : 0;
    }
    Join(keys, wanted, members);
    present += wanted;
  };
  if (plan.scores != nullptr) fill(plan.scores + item * plan.blocks, plan.rule.query_blocks);
  if (plan.importance != nullptr) {
    fill(plan.importance + (row / plan.tokens * plan.kv_heads + kv_head) * plan.blocks, plan.rule.topk);
  }
  uint64_t* mask = plan.masks + (row * plan.kv_heads + kv_head) * plan.words;
#pragma unroll
  for (int i = 0; i < kEach; i += 2) {
    if (lane == 0 && i / 2 < plan.words) mask[i / 2] = members[i] | static_cast<uint64_t>(members[i + 1]) << 32;
  }
}

void Select(const SetPlan& plan, cudaStream_t stream) {
  const unsigned grid = GridFor(plan.rows * plan.kv_heads, kWarps);
  if (plan.blocks <= 4 * kWarpSize) {
    SelectSets<4><<<grid, kThreads, 0, stream>>>(plan);
  } else if (plan.blocks <= 16 * kWarpSize) {
    SelectSets<16><<<grid, kThreads, 0, stream>>>(plan);
  } else {
    NOSA_CHECK(plan.blocks <= 64 * kWarpSize, "sequences of {} blocks are more than are selected here", plan.blocks);
    SelectSets<64><<<grid, kThreads, 0, stream>>>(plan);
  }
  NOSA_CUDA_LAUNCHED();
}

}  // namespace

void sequence_select(ops::Backend& backend, ops::Stream stream, const ops::SequenceSelectArgs& args) {
  const ops::SequenceSizes size = ops::SizesOf(args.q, args.tokens, args.kv_heads, "q");
  if (size.rows == 0) return;
  Context& context = ContextOf(backend);
  const cudaStream_t on = context.stream(stream);
  const int blocks = static_cast<int>(ops::BlocksOf(size.tokens, args.block_size));
  const int windows = static_cast<int>(ops::WindowsOf(size.tokens, args.kernel_size, args.kernel_stride));
  const int64_t row_scores = size.kv_heads * blocks, lanes = size.sequences * size.kv_heads;
  const int64_t chunk =
      std::clamp<int64_t>(static_cast<int64_t>(kScoreBytes / sizeof(float)) / row_scores, 1, size.rows);
  float* importance = static_cast<float*>(
      context.Scratch(static_cast<size_t>(lanes * blocks + chunk * row_scores) * sizeof(float), stream));
  float* scores = importance + lanes * blocks;
  if (args.rule.topk > 0) {
    ScoreImportance<<<GridFor(lanes * blocks, kThreads), kThreads, 0, on>>>(
        args.sigma.row<float>(0), importance, static_cast<int>(size.sequences), args.kv_heads, windows, blocks,
        args.block_size / args.kernel_stride);
    NOSA_CUDA_LAUNCHED();
  }
  for (int64_t row0 = 0; row0 < size.rows; row0 += chunk) {
    const int64_t rows = std::min(chunk, size.rows - row0);
    if (args.rule.query_blocks > 0) {
      const SequenceScorePlan plan = {.q = args.q.bytes(),
                                      .keys = args.keys.bytes(),
                                      .scores = scores,
                                      .row0 = row0,
                                      .chunk_rows = rows,
                                      .tokens = args.tokens,
                                      .heads = static_cast<int>(size.heads),
                                      .kv_heads = args.kv_heads,
                                      .group = static_cast<int>(size.group),
                                      .dim = static_cast<int>(size.dim),
                                      .windows = windows,
                                      .blocks = blocks,
                                      .windows_per_block = args.block_size / args.kernel_stride,
                                      .kernel_size = args.kernel_size,
                                      .kernel_stride = args.kernel_stride,
                                      .scale = args.scale};
      if (!SequenceScoresOnTensorCores(context, stream, plan, args.q.dtype(), args.block_size)) {
        const size_t shared = 2 * static_cast<size_t>(std::max(windows, 1)) * sizeof(float);
        DispatchFloat(args.q.dtype(), [&]<typename T>() {
          AllowShared(reinterpret_cast<const void*>(Score<T>), shared);
          Score<T><<<static_cast<unsigned>(rows * size.kv_heads), kThreads, shared, on>>>(plan);
          NOSA_CUDA_LAUNCHED();
        });
      }
    }
    Select({.rule = args.rule,
            .scores = args.rule.query_blocks > 0 ? scores : nullptr,
            .importance = args.rule.topk > 0 ? importance : nullptr,
            .masks = args.masks.row<uint64_t>(0),
            .row0 = row0,
            .rows = rows,
            .tokens = args.tokens,
            .kv_heads = args.kv_heads,
            .blocks = blocks,
            .words = static_cast<int>(args.masks.dim(2)),
            .block_size = args.block_size},
           on);
  }
}

}  // namespace nosa::cuda
