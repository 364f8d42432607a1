#include "ops/replay_selection.h"

#include "backend/cuda/block_mask.cuh"
#include "backend/cuda/context.h"

namespace nosa::cuda {
namespace {

constexpr int kThreads = 128;

__global__ void ReplaySelection(ops::SelectionTrace trace, int first_lane, const int32_t* step, int stagger,
                                const int32_t* positions, int kv_heads, int init_blocks, int local_blocks,
                                int block_size, ops::StepSelection selection, int max_words) {
  extern __shared__ uint32_t mask[];
  int32_t* prefix = reinterpret_cast<int32_t*>(mask + max_words);
  const int lane = static_cast<int>(blockIdx.x), seat = lane / kv_heads;
  const int32_t pos = positions[seat];
  if (pos < 0) {
    if (threadIdx.x == 0) selection.counts[lane] = 0;
    return;
  }
  const int own = pos / block_size, words = own / 32 + 1;
  for (int w = static_cast<int>(threadIdx.x); w < words; w += kThreads) mask[w] = 0;
  __syncthreads();
  const int forced = init_blocks + local_blocks + 1;
  for (int i = static_cast<int>(threadIdx.x); i < forced + trace.width; i += kThreads) {
    int block = -1;
    if (i < init_blocks) {
      block = i;
    } else if (i < forced) {
      block = own - local_blocks + (i - init_blocks);
    } else {
      const int64_t at = (static_cast<int64_t>(seat % trace.rows) * trace.steps + (*step + stagger * seat) % trace.steps) *
                             trace.lanes + first_lane + lane % kv_heads;
      block = init_blocks + trace.picks[at * trace.width + (i - forced)];
      if (block >= own - local_blocks) block = -1;
    }
    if (block >= 0 && block <= own) atomicOr(mask + block / 32, 1u << (block % 32));
  }
  __syncthreads();
  const int count = EmitMembers(mask, words, prefix, selection.ids + static_cast<int64_t>(lane) * selection.width,
                                selection.width);
  if (threadIdx.x == 0) selection.counts[lane] = count;
}

}  // namespace

void replay_selection(ops::Backend& backend, ops::Stream stream, const ops::ReplaySelectionArgs& args) {
  const size_t lanes = args.positions.size() * static_cast<size_t>(args.kv_heads);
  if (lanes == 0) return;
  Context& context = ContextOf(backend);
  // As many blocks as the picks and the widest recent part can name.
  constexpr int kMostWords = 4096;
  const size_t shared = (2 * kMostWords + 1) * sizeof(uint32_t);
  ReplaySelection<<<static_cast<unsigned>(lanes), kThreads, shared, context.stream(stream)>>>(
      args.trace, args.lane, args.step, args.stagger, context.Stage(args.positions, stream), args.kv_heads,
      args.init_blocks, args.local_blocks, args.block_size, args.selection, kMostWords);
  NOSA_CUDA_LAUNCHED();
}

}  // namespace nosa::cuda
