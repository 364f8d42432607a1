// Two kernels: the weights of all windows (seat_window_weights.cu), and one that makes of them the scores of blocks, as
// keys that order like the scores, and selects: a CTA selects for its lane, and where the device has clusters, several
// make the keys. The keys of very many blocks are a kernel of their own.
#include "ops/select_blocks.h"

#include <cooperative_groups.h>

#include <algorithm>

#include "backend/cuda/block_keys.cuh"

namespace nosa::cuda {
namespace {

constexpr int kKeyBlocks = kSelectThreads / 2;  // of a CTA of BlockKeys
constexpr unsigned kMostCluster = 4;            // CTAs of a lane

// Keys of many blocks, by several CTAs a lane: CTA (i, lane) those of kKeyBlocks blocks.
__global__ void __launch_bounds__(kSelectThreads) BlockKeys(const SelectionPlan p) {
  extern __shared__ float key_memory[];
  LetNextStart();
  WaitForPrevious();
  const int lane = static_cast<int>(blockIdx.y), first = static_cast<int>(blockIdx.x) * kKeyBlocks;
  const int32_t pos = p.positions[lane / p.kv_heads];
  const int thread = static_cast<int>(threadIdx.x), b = first + thread;
  if (pos < 0 || first > pos / p.block_size) return;
  uint32_t keys[2][1];
  Keys<1, 2>(p, lane, pos, first, kKeyBlocks, p.rule.query_blocks > 0, p.rule.topk > 0, key_memory, keys);
  if (thread >= kKeyBlocks || b > pos / p.block_size) return;
  uint32_t* to = p.keys + static_cast<int64_t>(lane) * 2 * p.max_blocks;
  to[b] = keys[0][0];
  to[p.max_blocks + b] = keys[1][0];
}

// Blocks whose keys each of `ctas` makes, of `blocks` in all: whole pieces of windows where a block has few.
__host__ __device__ inline int KeyShare(int blocks, int ctas) {
  constexpr int kUnit = 16;
  return (blocks + ctas * kUnit - 1) / (ctas * kUnit) * kUnit;
}

// Who makes the keys: the CTA that selects, all CTAs of its cluster, or BlockKeys before.
enum class KeysBy : uint8_t { kCta, kCluster, kKernel };

// One CTA or cluster per lane, for up to kPerThread * kSelectThreads blocks. Shared memory: SelectShared, members, ties
// and those taken of them, prefix [words + 1], Keys's, and with a cluster the keys of all blocks [2, max_blocks].
template <int kPerThread, KeysBy kBy>
__global__ void __launch_bounds__(kSelectThreads, kBy == KeysBy::kCluster ? 2 : 1) SelectBlocks(const SelectionPlan p) {
  extern __shared__ __align__(16) uint32_t select_memory[];
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarpSize, self = thread % kWarpSize;
  const int most_words = (p.max_blocks + 31) / 32;
  SelectShared* shared = reinterpret_cast<SelectShared*>(select_memory);
  uint32_t *mask = select_memory + sizeof(SelectShared) / 4, *ties = mask + most_words, *taken = ties + most_words;
  int32_t* prefix = reinterpret_cast<int32_t*>(taken + most_words);
  float* key_memory = reinterpret_cast<float*>(prefix + most_words + 1);
  const int ctas = static_cast<int>(gridDim.x) / p.lanes(), lane = static_cast<int>(blockIdx.x) / ctas;
  const int32_t pos = p.positions[lane / p.kv_heads];
  LetNextStart();
  reinterpret_cast<int4*>(shared->counts)[thread] = make_int4(0, 0, 0, 0);
#if __CUDA_ARCH__ >= 900
  if constexpr (kBy == KeysBy::kCluster) cooperative_groups::this_cluster().sync();  // all have begun
#endif
  WaitForPrevious();
  const int own = pos / p.block_size, blocks = own + 1, words = (blocks + 31) / 32;
  const ops::SelectionTrace& trace = p.replay.trace;
  const bool by_query = p.rule.query_blocks > 0, by_importance = p.rule.topk > 0;
  uint32_t keys[2][kPerThread];
  const auto load_keys = [&](int stage, const uint32_t* all) {
    const uint32_t* from = all + static_cast<int64_t>(stage) * p.max_blocks;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int b = thread + i * kSelectThreads;
      keys[stage][i] = b < blocks ? from[b] : 0;
    }
  };
#if __CUDA_ARCH__ >= 900
  if constexpr (kBy == KeysBy::kCluster) {
    const auto cluster = cooperative_groups::this_cluster();
    const int rank = static_cast<int>(cluster.block_rank()), room = KeyShare(p.max_blocks, ctas);
    // An even share of the blocks there are, though there be room for more.
    const int share = KeyShare(blocks, ctas), first = rank * share;
    uint32_t* all = reinterpret_cast<uint32_t*>(key_memory + KeyNumbers(room, p.block_size / p.kernel_stride));
    uint32_t mine[2][1] = {};
    if (pos >= 0 && first < blocks) {
      Keys<1, 2>(p, lane, pos, first, share, by_query, by_importance, key_memory, mine);
      uint32_t* to = cluster.map_shared_rank(all, 0);
      if (thread < share && first + thread < blocks) {
        to[first + thread] = mine[0][0];
        to[p.max_blocks + first + thread] = mine[1][0];
      }
    }
    cluster.sync();
    if (rank != 0) return;
    load_keys(0, all);
    load_keys(1, all);
  }
#endif
  if (pos < 0) {
    if (thread == 0) p.selection.counts[lane] = 0;
    return;
  }
  int pick = -1;
  if (trace.picks != nullptr && thread < trace.width) pick = p.Pick(lane, thread);
  const uint32_t* made = p.keys + static_cast<int64_t>(lane) * 2 * p.max_blocks;
  if constexpr (kBy == KeysBy::kCta) {
    Keys<kPerThread, 4>(p, lane, pos, 0, p.max_blocks, by_query, by_importance, key_memory, keys);
  } else if constexpr (kBy == KeysBy::kKernel) {
    if (by_query) load_keys(0, made);
    __syncthreads();  // the counts are 0
  }
  const int recent = max(0, own - p.rule.local_blocks), first = min(p.rule.init_blocks, blocks);
  int present = first + blocks - max(first, recent);
  uint64_t member = 0;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int b = thread + i * kSelectThreads;
    if (b < blocks && (b < first || b >= recent)) member |= uint64_t{1} << i;
  }
  FillMembers(keys[0], blocks, p.rule.query_blocks, present, shared, ties, taken, &member);
  if (kBy == KeysBy::kKernel && by_importance) load_keys(1, made);
  present = max(present, min(p.rule.query_blocks, blocks));
  FillMembers(keys[1], blocks, p.rule.topk, present, shared, ties, taken, &member);
  if (trace.picks != nullptr) {
    member = 0;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int b = thread + i * kSelectThreads;
      if (b < blocks && (b < first || b >= recent)) member |= uint64_t{1} << i;
    }
  }
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
  const bool by_query = args.rule.query_blocks > 0, by_importance = args.rule.topk > 0;
  if (by_query) {
    p.most_pieces = static_cast<int>(CeilDiv(args.max_blocks * args.block_size / args.kernel_stride, kPiece));
    p.most_windows = p.most_pieces * kPiece;
  }
  if (by_query || by_importance) {
    const size_t weights = size_t{lanes} * static_cast<size_t>(p.most_windows * p.group) * sizeof(float);
    const size_t pieces = size_t{lanes} * static_cast<size_t>(p.most_pieces * p.group) * sizeof(float2);
    const size_t keys = size_t{lanes} * 2 * static_cast<size_t>(p.max_blocks) * sizeof(uint32_t);
    std::byte* scratch = static_cast<std::byte*>(context.Scratch(weights + pieces + keys, stream));
    p.weights = reinterpret_cast<float*>(scratch);
    p.pieces = reinterpret_cast<float2*>(scratch + weights);
    p.keys = reinterpret_cast<uint32_t*>(scratch + weights + pieces);
  }
  if (by_query) WeighSeatWindows(context, queue, p, args.summary_dtype);
  const size_t words = static_cast<size_t>(args.max_blocks + 31) / 32;
  const int per_block = args.block_size / args.kernel_stride;
  const auto numbers = [&](int blocks) { return static_cast<size_t>(KeyNumbers(blocks, per_block)); };
  // As many CTAs a lane as the device takes at once, two on a multiprocessor.
  const unsigned cluster = std::clamp(2 * static_cast<unsigned>(context.multiprocessors()) / lanes, 2u, kMostCluster);
  const int share = KeyShare(args.max_blocks, static_cast<int>(cluster));
  const auto select = [&]<int kPerThread, KeysBy kBy>() {
    if (kBy == KeysBy::kKernel && (by_query || by_importance)) {
      const size_t memory = numbers(kKeyBlocks) * sizeof(float);
      AllowShared(reinterpret_cast<const void*>(&BlockKeys), memory);
      Launch(&BlockKeys, dim3(GridFor(args.max_blocks, kKeyBlocks), lanes), dim3(kSelectThreads), memory, queue, p);
    }
    size_t keys = 0;
    if (kBy == KeysBy::kCta) keys = numbers(args.max_blocks);
    if (kBy == KeysBy::kCluster) keys = numbers(share) + 2 * static_cast<size_t>(args.max_blocks);
    const size_t memory = sizeof(SelectShared) + (4 * words + 1 + keys) * sizeof(uint32_t);
    const unsigned ctas = kBy == KeysBy::kCluster ? cluster : 1;
    AllowShared(reinterpret_cast<const void*>(&SelectBlocks<kPerThread, kBy>), memory);
    LaunchClusters(&SelectBlocks<kPerThread, kBy>, dim3(lanes * ctas), ctas, dim3(kSelectThreads), memory, queue, p);
  };
  // Few blocks are scored where they are selected; many are worth a kernel of their own.
  constexpr int kMostPerThread = 64;
  constexpr size_t kOwnBytes = size_t{80} << 10;  // with the rest, what compute capability 8.6 has
  NOSA_CHECK(args.max_blocks <= kMostPerThread * kSelectThreads, "select_blocks: {} blocks, {} can be chosen from",
             args.max_blocks, kMostPerThread * kSelectThreads);
  const bool clusters = HasHopperLaunches() && share <= kSelectThreads;
  const bool own = numbers(args.max_blocks) * sizeof(float) <= kOwnBytes;
  const auto with = [&]<int kPerThread>() {
    if (clusters) return select.operator()<kPerThread, KeysBy::kCluster>();
    if (own) return select.operator()<kPerThread, KeysBy::kCta>();
    select.operator()<kPerThread, KeysBy::kKernel>();
  };
  if (args.max_blocks <= kSelectThreads) return with.operator()<1>();
  if (args.max_blocks <= 2 * kSelectThreads) return with.operator()<2>();
  if (args.max_blocks <= 4 * kSelectThreads) return with.operator()<4>();
  if (args.max_blocks <= 16 * kSelectThreads) return select.operator()<16, KeysBy::kKernel>();
  select.operator()<kMostPerThread, KeysBy::kKernel>();
}

}  // namespace nosa::cuda
