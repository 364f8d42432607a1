// What the kernels of seat_attention share: who fetches, who computes which split, who waits for whom, and the merge.
// For .cu files of this room only.
//
// One kernel does all of it. Its CTAs take numbers as they start: the first `fetchers` of them fetch, piece by piece,
// and count the pieces of every block; all others, and these when they are done, take splits by number: first every
// lane's first split, then every lane's second one, and so on, a lane's splits with blocks that are on their way coming
// last. Those wait for the count of each block they read. Whoever waits has a higher number than those it waits for,
// which wait for nobody: whatever CTAs the device starts, it ends. The partial states of a lane are merged where its
// last split was computed, in the order of the splits.
//
// Counters are 0 at the start, and made so again: a lane's by who merges it, the rest by the CTA that leaves last.
#pragma once

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"
#include "ops/partial_state.h"
#include "ops/seat_attention.h"

namespace nosa::cuda {

struct SeatParams {
  const float* q;
  int64_t q_stride;
  const int32_t* positions;
  ops::StepSelection selection;
  const std::byte* const* addresses;
  const ops::BlockCopy* copies;  // null: nothing is fetched
  const int32_t *copy_count, *arrivals;
  ops::BlockFrame frame;
  bool bias;
  float scale;
  int lanes, kv_heads, group, splits;
  ops::PartialStates states;  // [lanes, splits]
  void* out;
  DType out_dtype;
  int64_t out_stride;
  int fetchers = 0;                 // CTAs at most
  int pieces = 0, piece_words = 0;  // of a block, 16-byte words
  // CTAs that have started, splits taken, CTAs that have left.
  int32_t *started = nullptr, *next = nullptr, *left = nullptr;
  int32_t* done = nullptr;     // [lanes] splits computed
  int32_t* arrived = nullptr;  // [copies] pieces
};

// Of the loads from host memory that a thread of a fetching CTA has on their way; docs/performance.md says how many
// bytes fill the wire.
inline constexpr int kFetchWords = 17;

// Counters that seat_attention needs, and their places.
inline size_t SeatCounters(int lanes, int width) {
  return 4 + static_cast<size_t>(lanes) * (1 + static_cast<size_t>(width));
}
inline void PlaceCounters(int32_t* counters, SeatParams* p) {
  p->started = counters;
  p->next = counters + 1;
  p->left = counters + 2;
  p->done = counters + 4;
  p->arrived = p->done + p->lanes;
}

__device__ __forceinline__ int32_t LoadAcquire(const int32_t* p) {
  int32_t value;
  asm volatile("ld.acquire.gpu.global.s32 %0, [%1];\n" : "=r"(value) : "l"(p) : "memory");
  return value;
}

// What a CTA is to do. Of the kernel's first instructions; every thread gets the answer.
struct SeatRole {
  int copies;    // to be carried out in all
  int fetchers;  // CTAs
  int number;    // of this CTA

  __device__ bool fetches() const { return number < fetchers; }
  // The split that this CTA begins with, below 0 for one that fetches; how many begin like that.
  __device__ int first() const { return number - fetchers; }
  __device__ int others() const { return static_cast<int>(gridDim.x) - fetchers; }
};

__device__ inline SeatRole TakeRole(const SeatParams& p) {
  __shared__ int number;
  if (threadIdx.x == 0) number = atomicAdd(p.started, 1);
  const int copies = p.copies == nullptr ? 0 : *p.copy_count, warps = static_cast<int>(blockDim.x) / kWarpSize;
  const int wanted = min((copies * p.pieces + warps - 1) / warps, p.fetchers);
  __syncthreads();
  return {copies, min(wanted, static_cast<int>(gridDim.x)), number};
}

// By the warps of all fetching CTAs, each for pieces of its own.
__device__ inline void FetchBlocks(const SeatParams& p, const SeatRole& role) {
  const int warps = static_cast<int>(blockDim.x) / kWarpSize, self = static_cast<int>(threadIdx.x) % kWarpSize;
  const int pieces = role.copies * p.pieces, words = static_cast<int>(p.frame.bytes / sizeof(int4));
  for (int piece = role.number * warps + static_cast<int>(threadIdx.x) / kWarpSize; piece < pieces;
       piece += role.fetchers * warps) {
    const int copy = piece / p.pieces, first = piece % p.pieces * p.piece_words;
    const int4* from = reinterpret_cast<const int4*>(p.copies[copy].from) + first;
    int4* to = reinterpret_cast<int4*>(p.copies[copy].to) + first;
    const int count = min(p.piece_words, words - first);
    int4 word[kFetchWords];
#pragma unroll
    for (int i = 0; i < kFetchWords; ++i) {
      if (i * kWarpSize + self < count) word[i] = __ldcv(from + i * kWarpSize + self);
    }
#pragma unroll
    for (int i = 0; i < kFetchWords; ++i) {
      if (i * kWarpSize + self < count) to[i * kWarpSize + self] = word[i];
    }
    __syncwarp();
    if (self == 0) {
      __threadfence();
      atomicAdd(p.arrived + copy, 1);
    }
  }
}

// Returns when the block of copies[arrival - 1] is there, for the thread that calls.
__device__ inline void WaitForBlock(const SeatParams& p, int arrival) {
  if (arrival <= 0) return;
  while (LoadAcquire(p.arrived + arrival - 1) < p.pieces) __nanosleep(64);
}

// A split to be computed. lane = -1: there are no more.
struct SeatItem {
  int lane, split;
  int splits;  // of the lane's selection; 0: an empty seat, whose answer is 0
  int blocks;
  int32_t pos;
};

// Which split comes at `rank` in its lane. By a warp.
__device__ inline int SplitOfRank(const SeatParams& p, int lane, int count, int rank) {
  static_assert(kWarpSize % ops::kSplitBlocks == 0, "splits lie within 32 blocks");
  constexpr unsigned kFirst = kAllLanes / ((1u << ops::kSplitBlocks) - 1);  // a bit for the first block of each split
  const int self = static_cast<int>(threadIdx.x) % kWarpSize;
  const int32_t* arrivals = p.arrivals + static_cast<int64_t>(lane) * p.selection.width;
  for (const bool late : {false, true}) {
    for (int first = 0; first < count; first += kWarpSize) {
      const unsigned waits = __ballot_sync(kAllLanes, first + self < count && arrivals[first + self] > 0);
      unsigned splits = 0;
#pragma unroll
      for (int i = 0; i < ops::kSplitBlocks; ++i) splits |= waits >> i;
      splits = (late ? splits : ~splits) & kFirst;
      if (count - first < kWarpSize) splits &= (1u << (count - first)) - 1;
      const int found = __popc(splits);
      if (rank >= found) {
        rank -= found;
        continue;
      }
      for (; rank > 0; --rank) splits &= splits - 1;
      return (first + __ffs(static_cast<int>(splits)) - 1) / ops::kSplitBlocks;
    }
  }
  return 0;
}

__device__ inline int SelectedOf(const SeatParams& p, int lane) {
  const int count = p.selection.counts[lane];  // beside the position, not after it
  return p.positions[lane / p.kv_heads] < 0 ? 0 : count;
}

// Takes splits one after another, the number of the next one while this one is worked on. For one whole warp of a CTA.
class SeatWork {
 public:
  __device__ SeatWork(const SeatParams& p, const SeatRole& role)
      : p_(p), role_(role), end_(p.lanes * p.splits), ticket_(role.first()) {}

  __device__ SeatItem Next() {
    for (;;) {
      if (ticket_ < 0) ticket_ = Take();
      const int ticket = __shfl_sync(kAllLanes, ticket_, 0);
      if (ticket >= end_) return {-1, 0, 0, 0, 0};
      ticket_ = Take();
      const int lane = ticket % p_.lanes, rank = ticket / p_.lanes;
      const int32_t pos = p_.positions[lane / p_.kv_heads];
      const int count = SelectedOf(p_, lane), splits = ops::SplitsOf(count);
      if (rank >= max(splits, 1)) {
        if (!shortened_) Shorten();
        continue;
      }
      const int split = role_.copies == 0 ? rank : SplitOfRank(p_, lane, count, rank);
      return {lane, split, splits, min(ops::kSplitBlocks, count - split * ops::kSplitBlocks), pos};
    }
  }

 private:
  __device__ int Take() { return threadIdx.x % kWarpSize == 0 ? atomicAdd(p_.next, 1) + role_.others() : 0; }
  // No lane has more splits than the longest selection, which may be far shorter than there is room for.
  __device__ void Shorten() {
    int most = 1;
    for (int lane = static_cast<int>(threadIdx.x) % kWarpSize; lane < p_.lanes; lane += kWarpSize) {
      most = max(most, ops::SplitsOf(SelectedOf(p_, lane)));
    }
    end_ = min(end_, WarpMax(most) * p_.lanes);
    shortened_ = true;
  }

  const SeatParams& p_;
  const SeatRole& role_;
  int end_;
  bool shortened_ = false;
  int ticket_;  // of the warp's first thread; below 0: to be taken
};

// Counts a split of which this CTA's threads have written the state (and met since); whether it was the lane's last
// one, all of whose states can then be read. For one thread.
__device__ inline bool FinishSplit(const SeatParams& p, const SeatItem& item) {
  __threadfence();
  const bool last = atomicAdd(p.done + item.lane, 1) == item.splits - 1;
  if (last) p.done[item.lane] = 0;
  __threadfence();
  return last;
}

// The answer of a lane: its states merged, by `threads` threads, kWide channels each. States are read from L2, as other
// multiprocessors have written them.
template <int kWide>
__device__ inline void MergeLane(const SeatParams& p, int lane, int splits, int thread, int threads) {
  const int channels = p.states.v_dim, per_head = channels / kWide;
  const int64_t first = static_cast<int64_t>(lane) * p.splits;
  const int64_t row = lane / p.kv_heads * p.out_stride + static_cast<int64_t>(lane % p.kv_heads) * p.group * channels;
  for (int i = thread; i < p.group * per_head; i += threads) {
    const int h = i / per_head, c = i % per_head * kWide;
    float max = -INFINITY;
#pragma unroll 8
    for (int s = 0; s < splits; ++s) max = fmaxf(max, __ldcg(p.states.m + (first + s) * p.group + h));
    float sum = 0, acc[kWide] = {};
    // No branch, so that several states are loaded side by side; an empty one counts nothing.
#pragma unroll 8
    for (int s = 0; s < splits; ++s) {
      const int64_t at = (first + s) * p.group + h;
      const float m = __ldcg(p.states.m + at), scale = m == -INFINITY ? 0.0f : expf(m - max);
      sum += __ldcg(p.states.l + at) * scale;
      if constexpr (kWide == 4) {
        const float4 x = __ldcg(reinterpret_cast<const float4*>(p.states.acc + at * channels + c));
        acc[0] += x.x * scale;
        acc[1] += x.y * scale;
        acc[2] += x.z * scale;
        acc[3] += x.w * scale;
      } else {
        acc[0] += __ldcg(p.states.acc + at * channels + c) * scale;
      }
    }
    const int64_t at = row + static_cast<int64_t>(h) * channels + c;
#pragma unroll
    for (int j = 0; j < kWide; ++j) {
      const float value = sum == 0 ? 0.0f : acc[j] / sum;
      if (p.out_dtype == DType::kF32) {
        static_cast<float*>(p.out)[at + j] = value;
      } else {
        static_cast<BFloat16*>(p.out)[at + j] = FromFloat<BFloat16>(value);
      }
    }
  }
}

// The last thing that a CTA does, all of its threads.
__device__ inline void Leave(const SeatParams& p, const SeatRole& role) {
  __shared__ bool last;
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(p.left, 1) == static_cast<int>(gridDim.x) - 1;
    if (last) *p.started = *p.next = *p.left = 0;
  }
  __syncthreads();
  if (!last) return;
  for (int i = static_cast<int>(threadIdx.x); i < role.copies; i += static_cast<int>(blockDim.x)) p.arrived[i] = 0;
}

}  // namespace nosa::cuda
