// Two kernels: the scores of all windows (seat_window_scores.cu), and one CTA per lane that makes of them the scores of
// blocks, as keys that order like the scores, and selects.
#include "ops/select_blocks.h"

#include <algorithm>

#include "backend/cuda/seat_selection.h"
#include "backend/cuda/top_members.cuh"

namespace nosa::cuda {
namespace {

// The key of block b: the largest of the values of its windows and the one before. `fours`: blocks have four windows,
// and `values` can be loaded four at a time.
__device__ uint32_t KeyOf(const float* values, int b, int per_block, int windows, bool fours) {
  float best = -INFINITY;
  if (fours && (b + 1) * 4 <= windows) {
    const float4 x = Load4(values + b * 4);
    best = fmaxf(fmaxf(x.x, x.y), fmaxf(x.z, x.w));
    if (b > 0) best = fmaxf(best, values[b * 4 - 1]);
  } else {
    for (int w = max(0, b * per_block - 1); w < min((b + 1) * per_block, windows); ++w) best = fmaxf(best, values[w]);
  }
  return OrderedKey(best);
}

// One CTA per lane, for up to kPerThread * kSelectThreads blocks. Shared memory: SelectShared, members, ties and those
// taken of them, prefix [words + 1].
template <int kPerThread>
__global__ void __launch_bounds__(kSelectThreads) SelectBlocks(const SelectionPlan p) {
  extern __shared__ __align__(16) uint32_t select_memory[];
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarpSize, self = thread % kWarpSize;
  const int most_words = (p.max_blocks + 31) / 32;
  SelectShared* shared = reinterpret_cast<SelectShared*>(select_memory);
  uint32_t *mask = select_memory + sizeof(SelectShared) / 4, *ties = mask + most_words, *taken = ties + most_words;
  int32_t* prefix = reinterpret_cast<int32_t*>(taken + most_words);
  LetNextStart();
  reinterpret_cast<int4*>(shared->counts)[thread] = make_int4(0, 0, 0, 0);
  const int lane = static_cast<int>(blockIdx.x);
  const int32_t pos = p.positions[lane / p.kv_heads];
  const ops::SelectionTrace& trace = p.replay.trace;
  int pick = -1;
  if (trace.picks != nullptr && thread < trace.width) pick = p.Pick(lane, thread);
  const float* sigma = p.rule.topk > 0 ? p.states[lane].sigma : nullptr;
  WaitForPrevious();
  if (pos < 0) {
    if (thread == 0) p.selection.counts[lane] = 0;
    return;
  }
  const int own = pos / p.block_size, blocks = own + 1, words = (blocks + 31) / 32;
  const int windows = p.WindowsAt(pos), per_block = p.block_size / p.kernel_stride;
  uint32_t keys[2][kPerThread];
  const auto load_keys = [&](int stage, const float* values) {
    const bool fours = per_block == 4 && FoursAligned(values, 0);
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int b = thread + i * kSelectThreads;
      keys[stage][i] = b < blocks ? KeyOf(values, b, per_block, windows, fours) : 0;
    }
  };
  const bool early = kPerThread <= 4;  // both kinds of keys fit the registers
  if (p.rule.query_blocks > 0) load_keys(0, p.scores + static_cast<int64_t>(lane) * p.most_windows);
  if (early && p.rule.topk > 0) load_keys(1, sigma);
  const int recent = max(0, own - p.rule.local_blocks), first = min(p.rule.init_blocks, blocks);
  uint64_t forced = 0;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int b = thread + i * kSelectThreads;
    if (b < blocks && (b < first || b >= recent)) forced |= uint64_t{1} << i;
  }
  uint64_t member = forced;
  int present = first + blocks - max(first, recent);
  __syncthreads();  // the counts are 0
  FillMembers(keys[0], blocks, p.rule.query_blocks, present, shared, ties, taken, &member);
  present = max(present, min(p.rule.query_blocks, blocks));
  if (!early && p.rule.topk > 0) load_keys(1, sigma);
  FillMembers(keys[1], blocks, p.rule.topk, present, shared, ties, taken, &member);
  if (trace.picks != nullptr) member = forced;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const uint32_t votes = __ballot_sync(kAllLanes, (member >> i & 1) != 0);
    const int w = warp + i * kSelectWarps;
    if (self == 0 && w < words) mask[w] = votes;
  }
  __syncthreads();
  if (trace.picks != nullptr) {
    for (int i = thread; i < trace.width; i += kSelectThreads) {
      const int b = i == thread ? pick : p.Pick(lane, i);
      if (b < recent) atomicOr(mask + b / 32, 1u << (b % 32));
    }
    __syncthreads();
  }
  const int count = EmitBlocks(mask, words, prefix, p.selection.ids + static_cast<int64_t>(lane) * p.selection.width,
                               p.selection.width);
  if (thread == 0) p.selection.counts[lane] = count;
}

// All of them.
__global__ void SelectEvery(const SelectionPlan p) {
  LetNextStart();
  WaitForPrevious();
  const int lane = static_cast<int>(blockIdx.y);
  const int32_t pos = p.positions[lane / p.kv_heads];
  const int blocks = pos < 0 ? 0 : pos / p.block_size + 1;
  const int b = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (b == 0) p.selection.counts[lane] = blocks;
  if (b < blocks) p.selection.ids[static_cast<int64_t>(lane) * p.selection.width + b] = b;
}

}  // namespace

void select_blocks(ops::Backend& backend, ops::Stream stream, const ops::SelectBlocksArgs& args) {
  const int seats = static_cast<int>(args.positions.size());
  if (seats * args.kv_heads == 0) return;
  Context& context = ContextOf(backend);
  const cudaStream_t queue = context.stream(stream);
  SelectionPlan p = {.q = args.q.row<float>(0),
                     .q_stride = args.q.row_stride(),
                     .positions = context.Stage(args.positions, stream),
                     .states = context.Stage(args.states, stream),
                     .rule = args.rule,
                     .selection = args.selection,
                     .replay = args.replay,
                     .seats = seats,
                     .kv_heads = args.kv_heads,
                     .group = static_cast<int>(args.q.dim(1)) / args.kv_heads,
                     .dim = static_cast<int>(args.q.dim(2)),
                     .block_size = args.block_size,
                     .kernel_size = args.kernel_size,
                     .kernel_stride = args.kernel_stride,
                     .max_blocks = args.max_blocks,
                     .scale = args.scale};
  NOSA_CHECK(p.group <= kMostGroup, "select_blocks: groups of {} heads", p.group);
  const auto lanes = static_cast<unsigned>(p.lanes());
  if (args.rule.every_block) {
    Launch(&SelectEvery, dim3(GridFor(args.max_blocks, kSelectThreads), lanes), dim3(kSelectThreads), 0, queue, p);
    return;
  }
  if (args.rule.query_blocks > 0) {
    p.most_pieces = static_cast<int>(CeilDiv(args.max_blocks * args.block_size / args.kernel_stride, kPiece));
    p.most_windows = p.most_pieces * kPiece;
    const size_t weights = size_t{lanes} * static_cast<size_t>(p.most_windows * p.group) * sizeof(float);
    const size_t scores = size_t{lanes} * static_cast<size_t>(p.most_windows) * sizeof(float);
    const size_t pieces = size_t{lanes} * static_cast<size_t>(p.most_pieces * p.group) * sizeof(float2);
    std::byte* scratch = static_cast<std::byte*>(context.Scratch(weights + scores + pieces, stream));
    p.weights = reinterpret_cast<float*>(scratch);
    p.scores = reinterpret_cast<float*>(scratch + weights);
    p.pieces = reinterpret_cast<float2*>(scratch + weights + scores);
    p.arrived = context.Counters(2 * size_t{lanes}, stream);
    p.left = p.arrived + lanes;
    ScoreSeatWindows(context, queue, p, args.summary_dtype);
  }
  const size_t words = static_cast<size_t>(args.max_blocks + 31) / 32;
  const size_t memory = sizeof(SelectShared) + (4 * words + 1) * sizeof(uint32_t);
  const auto select = [&]<int kPerThread>() {
    AllowShared(reinterpret_cast<const void*>(&SelectBlocks<kPerThread>), memory);
    Launch(&SelectBlocks<kPerThread>, dim3(lanes), dim3(kSelectThreads), memory, queue, p);
  };
  constexpr int kMostPerThread = 64;
  NOSA_CHECK(args.max_blocks <= kMostPerThread * kSelectThreads, "select_blocks: {} blocks, {} can be chosen from",
             args.max_blocks, kMostPerThread * kSelectThreads);
  if (args.max_blocks <= kSelectThreads) {
    select.operator()<1>();
  } else if (args.max_blocks <= 2 * kSelectThreads) {
    select.operator()<2>();
  } else if (args.max_blocks <= 4 * kSelectThreads) {
    select.operator()<4>();
  } else if (args.max_blocks <= 16 * kSelectThreads) {
    select.operator()<16>();
  } else {
    select.operator()<kMostPerThread>();
  }
}

}  // namespace nosa::cuda
