// Floats order like integers (OrderedKey). Up to 2,048 blocks a warp holds a row's keys in registers, and finds the key
// of the last block that joins bit by bit; of more, four passes of a block of threads over the keys' digits find it.
#include "ops/topk_blocks.h"

#include <algorithm>

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

// Few blocks: a warp a row, block 32 i + lane in the lane's key i. 0, which no score has, stands for members and for
// blocks that are not there.
constexpr int kRowsAtOnce = 8;

template <int kKeys>
__device__ __forceinline__ int CountFrom(const uint32_t (&keys)[kKeys], uint32_t least) {
  int count = 0;
#pragma unroll
  for (int i = 0; i < kKeys; ++i) count += keys[i] >= least ? 1 : 0;
  return __reduce_add_sync(kAllLanes, count);
}

template <int kKeys>
__global__ void __launch_bounds__(kRowsAtOnce* kWarpSize) TopkOfFew(const Row* rows, int count, int k) {
  constexpr int kWords = (kKeys + kWarpSize - 1) / kWarpSize;  // of the mask, a lane
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int at = static_cast<int>(blockIdx.x) * kRowsAtOnce + static_cast<int>(threadIdx.x) / kWarpSize;
  if (at >= count) return;
  const Row row = rows[at];
  uint32_t keys[kKeys], members[kWords], joining[kWords] = {};
  int had = 0;
#pragma unroll
  for (int w = 0; w < kWords; ++w) {
    const int word = w * kWarpSize + lane;
    members[w] = word < WordCount(row) ? WordsOf(row)[word] : 0;
    had += __popc(members[w]);
  }
#pragma unroll
  for (int i = 0; i < kKeys; ++i) {
    const int b = i * kWarpSize + lane;
    keys[i] = b < row.blocks ? OrderedKey(row.scores[b]) : 0;
  }
  const int need = min(k, row.blocks) - __reduce_add_sync(kAllLanes, had);
  if (need <= 0) return;
#pragma unroll
  for (int i = 0; i < kKeys; ++i) {
    const uint32_t word = __shfl_sync(kAllLanes, members[i / kWarpSize], i % kWarpSize);
    if ((word >> lane & 1) != 0) keys[i] = 0;
  }
  // The greatest key that `need` candidates reach. Where just as many do, smaller bits do not matter.
  uint32_t threshold = 0;
  int reach = -1;
  for (int bit = 31; bit >= 0 && reach != need; --bit) {
    const uint32_t higher = threshold | uint32_t{1} << bit;
    const int count_of = CountFrom(keys, higher);
    if (count_of < need) continue;
    threshold = higher;
    reach = count_of;
  }
  int ties = reach == need ? need : need - CountFrom(keys, threshold + 1);
  const uint32_t above = reach == need ? threshold - 1 : threshold;  // keys above it join, whatever comes before them
#pragma unroll
  for (int i = 0; i < kKeys; ++i) {
    const uint32_t equal = __ballot_sync(kAllLanes, keys[i] == threshold);
    const bool tie = keys[i] == threshold && __popc(equal & ((1u << lane) - 1)) < ties;
    const uint32_t word = __ballot_sync(kAllLanes, keys[i] > above || tie);
    ties -= __popc(equal);
    if (lane == i % kWarpSize) joining[i / kWarpSize] = word;
  }
#pragma unroll
  for (int w = 0; w < kWords; ++w) {
    if (joining[w] != 0) WordsOf(row)[w * kWarpSize + lane] = members[w] | joining[w];
  }
}

// Blocks of the longest row; -1 where the host cannot tell.
int MostBlocks(const ops::TopkBlocksArgs& args, const Row* staged) {
  if (staged == args.rows.data()) return -1;  // may lie where the host cannot read it
  int most = 0;
  for (const Row& row : args.rows) most = std::max(most, row.blocks);
  return most;
}

}  // namespace

void topk_blocks(ops::Backend& backend, ops::Stream stream, const ops::TopkBlocksArgs& args) {
  if (args.rows.empty() || args.k == 0) return;
  Context& context = ContextOf(backend);
  const Row* rows = context.Stage(args.rows, stream);
  const int count = static_cast<int>(args.rows.size()), most = MostBlocks(args, rows);
  const auto few = [&](auto* kernel) {
    kernel<<<GridFor(count, kRowsAtOnce), kRowsAtOnce * kWarpSize, 0, context.stream(stream)>>>(rows, count, args.k);
  };
  if (most < 0 || most > 64 * kWarpSize) {
    TopkBlocks<<<static_cast<unsigned>(count), kThreads, 0, context.stream(stream)>>>(rows, args.k);
  } else if (most <= 8 * kWarpSize) {
    few(TopkOfFew<8>);
  } else if (most <= 16 * kWarpSize) {
    few(TopkOfFew<16>);
  } else if (most <= 32 * kWarpSize) {
    few(TopkOfFew<32>);
  } else {
    few(TopkOfFew<64>);
  }
  NOSA_CUDA_LAUNCHED();
}

}  // namespace nosa::cuda
