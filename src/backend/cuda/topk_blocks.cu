// Selection by radix: floats order like integers (OrderedKey), and four passes over the digits of the keys find the key
// of the last block that joins.
#include "ops/topk_blocks.h"

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kDigits = 256;
constexpr int kDigitBits = 8;

using Row = ops::TopkBlocksArgs::Row;

// A mask in words of one warp's blocks.
__device__ uint32_t* WordsOf(const Row& row) { return reinterpret_cast<uint32_t*>(row.mask); }
__device__ int WordCount(const Row& row) { return (row.blocks + kWarpSize - 1) / kWarpSize; }

__device__ int CountMembers(const Row& row) {
  int count = 0;
  for (int w = static_cast<int>(threadIdx.x); w < WordCount(row); w += kThreads) count += __popc(WordsOf(row)[w]);
  return BlockSum(count);
}

__device__ void TakeAll(const Row& row) {
  for (int w = static_cast<int>(threadIdx.x); w < WordCount(row); w += kThreads) {
    const int left = row.blocks - w * kWarpSize;
    WordsOf(row)[w] = left >= kWarpSize ? 0xffffffffu : (1u << left) - 1;
  }
}

// How often each digit occurs among the candidates: blocks that are no members and whose keys share the digits above
// `shift` with `prefix`. Scores are alike, so a warp's equal digits are counted together.
__device__ void CountDigits(const Row& row, uint32_t prefix, int shift, int* counts) {
  const uint32_t above = shift + kDigitBits == 32 ? 0 : ~uint32_t{0} << (shift + kDigitBits);
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, lane = static_cast<int>(threadIdx.x) % kWarpSize;
  for (int w = warp; w < WordCount(row); w += kWarps) {
    const int b = w * kWarpSize + lane;
    const bool outside = b < row.blocks && (WordsOf(row)[w] >> lane & 1) == 0;
    const uint32_t key = outside ? OrderedKey(row.scores[b]) : 0;
    const bool candidate = outside && (key & above) == prefix;
    const uint32_t digit = candidate ? key >> shift & (kDigits - 1) : kDigits;
    const unsigned equal = __match_any_sync(kAllLanes, digit);
    if (candidate && lane == __ffs(static_cast<int>(equal)) - 1) atomicAdd(&counts[digit], __popc(equal));
  }
}

// The digit of the `need`-th candidate from the greatest, and how many of the candidates with it are needed. For the
// first warp.
struct Choice {
  uint32_t digit;
  int need;
};
__device__ Choice ChooseDigit(const int* counts, int need) {
  constexpr int kEach = kDigits / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x), top = kDigits - 1 - lane * kEach;  // lane 0 has the greatest digits
  int mine = 0;
  for (int i = 0; i < kEach; ++i) mine += counts[top - i];
  int before = mine;  // inclusive sum over the lanes, then exclusive
  for (int step = 1; step < kWarpSize; step *= 2) {
    const int other = __shfl_up_sync(kAllLanes, before, step);
    if (lane >= step) before += other;
  }
  before -= mine;
  const bool here = before < need && need <= before + mine;
  Choice choice = {0, need - before};
  if (here) {
    int i = 0;
    for (; choice.need > counts[top - i]; ++i) choice.need -= counts[top - i];
    choice.digit = static_cast<uint32_t>(top - i);
  }
  const int owner = __ffs(static_cast<int>(__ballot_sync(kAllLanes, here))) - 1;
  return {__shfl_sync(kAllLanes, choice.digit, owner), __shfl_sync(kAllLanes, choice.need, owner)};
}

// Adds the blocks whose keys are above `threshold`, and of those at it the first `ties`.
__device__ void Join(const Row& row, uint32_t threshold, int ties) {
  __shared__ int warp_ties[kWarps];
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, lane = static_cast<int>(threadIdx.x) % kWarpSize;
  for (int first = 0; first < WordCount(row); first += kWarps) {
    const int w = first + warp, b = w * kWarpSize + lane;
    const uint32_t members = w < WordCount(row) ? WordsOf(row)[w] : 0;
    const bool outside = b < row.blocks && (members >> lane & 1) == 0;
    const uint32_t key = outside ? OrderedKey(row.scores[b]) : 0;
    const uint32_t equal = __ballot_sync(kAllLanes, outside && key == threshold);
    __syncthreads();  // the counts of the round before have been read
    if (lane == 0) warp_ties[warp] = __popc(equal);
    __syncthreads();
    int before = 0, all = 0;
    for (int i = 0; i < kWarps; ++i) {
      before += i < warp ? warp_ties[i] : 0;
      all += warp_ties[i];
    }
    const int rank = before + __popc(equal & ((1u << lane) - 1));
    const bool joins = outside && (key > threshold || (key == threshold && rank < ties));
    const uint32_t joining = __ballot_sync(kAllLanes, joins);
    if (lane == 0 && joining != 0) WordsOf(row)[w] = members | joining;
    ties -= all;
  }
}

// A block of threads a row.
__global__ void __launch_bounds__(kThreads) TopkBlocks(const Row* rows, int k) {
  __shared__ int counts[kDigits];
  __shared__ Choice choice;
  const Row row = rows[blockIdx.x];
  const int members = CountMembers(row);
  if (members >= k || members == row.blocks) return;
  if (row.blocks <= k) return TakeAll(row);
  uint32_t prefix = 0;
  int need = k - members;
  for (int shift = 32 - kDigitBits; shift >= 0; shift -= kDigitBits) {
    for (int i = static_cast<int>(threadIdx.x); i < kDigits; i += kThreads) counts[i] = 0;
    __syncthreads();
    CountDigits(row, prefix, shift, counts);
    __syncthreads();
    if (threadIdx.x < kWarpSize) {
      const Choice chosen = ChooseDigit(counts, need);
      if (threadIdx.x == 0) choice = chosen;
    }
    __syncthreads();
    prefix |= choice.digit << shift;
    need = choice.need;
  }
  Join(row, prefix, need);
}

}  // namespace

void topk_blocks(ops::Backend& backend, ops::Stream stream, const ops::TopkBlocksArgs& args) {
  if (args.rows.empty() || args.k == 0) return;
  Context& context = ContextOf(backend);
  const Row* rows = context.Stage(args.rows, stream);
  TopkBlocks<<<static_cast<unsigned>(args.rows.size()), kThreads, 0, context.stream(stream)>>>(rows, args.k);
  NOSA_CUDA_LAUNCHED();
}

}  // namespace nosa::cuda
