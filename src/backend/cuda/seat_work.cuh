// What the kernels of seat_attention share: who fetches, who computes which split, who waits for whom, and the merge.
// For .cu files of this room only.
//
// One kernel does all of it. In the first CTAs some warps fetch, piece by piece, and count the pieces of every block.
// Every CTA has splits, each every so many: first every lane's first split, then every lane's second one, and so on, a
// lane's splits with blocks that are on their way coming last. Those wait for the count of each block they read. When
// it has no split left, a CTA's warps take heads; each waits for the splits of its lane to be counted, and merges them
// in their order.
//
// A piece waits for nothing. There are no more CTAs than the device has room for at once, so all of them run when what
// it has begun before is done: who waits for a piece or a split waits for a CTA that comes. Shares are even, which a
// CTA that takes splits when it has room for them would not leave them: the first to start would take several while
// others still start.
//
// Counters are 0 at the start, and made so again by who is the last to need them: nobody waits for that.
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
  int fetchers = 0;                              // CTAs that may have warps that fetch
  int pieces = 0, piece_words = 0;               // of a block, 16-byte words
  int32_t *fetched = nullptr, *ready = nullptr;  // pieces taken, CTAs without splits left
  int32_t *done = nullptr, *merging = nullptr;   // [lanes] splits computed, heads that saw them all
  int32_t* arrived = nullptr;                    // [copies] pieces
};

// A piece of a block, in 16-byte words for each thread of a warp: what a warp that loads it has on its way at a time.
// docs/performance.md says how many bytes fill the wire.
inline constexpr int kFetchWords = 17;

// Counters that seat_attention needs, and their places.
inline size_t SeatCounters(int lanes, int width) {
  return 2 + static_cast<size_t>(lanes) * (2 + static_cast<size_t>(width));
}
inline void PlaceCounters(int32_t* counters, SeatParams* p) {
  p->fetched = counters;
  p->ready = counters + 1;
  p->done = counters + 2;
  p->merging = p->done + p->lanes;
  p->arrived = p->merging + p->lanes;
}

__device__ __forceinline__ int32_t LoadAcquire(const int32_t* p) {
  int32_t value;
  asm volatile("ld.acquire.gpu.global.s32 %0, [%1];\n" : "=r"(value) : "l"(p) : "memory");
  return value;
}

// CTAs that fetch.
__device__ inline int FetchersOf(const SeatParams& p) { return min(p.fetchers, static_cast<int>(gridDim.x)); }
// Copies to be carried out.
__device__ inline int CopiesOf(const SeatParams& p) { return p.copies == nullptr ? 0 : *p.copy_count; }

// Pieces one after another, for a thread that fetches: its first is its own, the others are for who comes first.
class Pieces {
 public:
  // Fetcher `first` of `fetchers`.
  __device__ Pieces(const SeatParams& p, int first, int fetchers) : p_(p), next_(first), fetchers_(fetchers) {}
  __device__ int next() const { return next_; }
  __device__ void Take() { next_ = fetchers_ + atomicAdd(p_.fetched, 1); }

 private:
  const SeatParams& p_;
  int next_, fetchers_;
};

// By warp `fetcher` of `fetchers` that fetch, until no piece is left.
__device__ inline void FetchBlocks(const SeatParams& p, int fetcher, int fetchers) {
  const int self = static_cast<int>(threadIdx.x) % kWarpSize;
  const int pieces = CopiesOf(p) * p.pieces, words = static_cast<int>(p.frame.bytes / sizeof(int4));
  Pieces own(p, fetcher, fetchers);
  for (;;) {
    const int piece = __shfl_sync(kAllLanes, own.next(), 0);
    if (piece >= pieces) return;
    const int copy = piece / p.pieces, first = piece % p.pieces * p.piece_words;
    const int4* from = reinterpret_cast<const int4*>(p.copies[copy].from) + first;
    int4* to = reinterpret_cast<int4*>(p.copies[copy].to) + first;
    const int count = min(p.piece_words, words - first);
    int4 word[kFetchWords];
#pragma unroll
    for (int i = 0; i < kFetchWords; ++i) {
      if (i * kWarpSize + self < count) word[i] = __ldcv(from + i * kWarpSize + self);
    }
    if (self == 0) own.Take();  // while this one is on its way, and others have begun with theirs
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
  int blocks;
  int32_t pos;
};

__device__ inline int SelectedOf(const SeatParams& p, int lane) {
  const int count = p.selection.counts[lane];  // beside the position, not after it
  return p.positions[lane / p.kv_heads] < 0 ? 0 : count;
}

// A CTA's splits one after another. For one whole warp of it. What has to be known is loaded side by side, before any
// of it is looked at: splits cannot be computed faster than they are found.
class SeatWork {
 public:
  // Block `thread of the warp` of a split; arrival as SeatAttentionArgs::arrivals.
  struct Block {
    const std::byte* data;
    int32_t id;
    int arrival;
  };

  __device__ explicit SeatWork(const SeatParams& p)
      : p_(p),
        self_(static_cast<int>(threadIdx.x) % kWarpSize),
        end_(p.lanes * p.splits),
        next_(static_cast<int>(blockIdx.x)) {}

  // `own` means nothing beyond the split's blocks.
  __device__ SeatItem Next(Block* own) {
    for (;;) {
      const int ticket = next_;
      if (ticket >= end_) return {-1, 0, 0, 0};
      next_ += static_cast<int>(gridDim.x);
      const int lane = ticket % p_.lanes, rank = ticket / p_.lanes;
      const int32_t pos = p_.positions[lane / p_.kv_heads];
      const int selected = p_.selection.counts[lane];
      *own = LoadBlock(lane, rank);  // what it mostly is
      int32_t arrivals[kNear] = {};
      if (p_.copies != nullptr) {
#pragma unroll
        for (int i = 0; i < kNear; ++i) arrivals[i] = Arrival(lane, i * kWarpSize + self_);
      }
      const int count = pos < 0 ? 0 : selected;
      if (rank >= ops::SplitsOf(count)) {
        if (!shortened_) Shorten();
        continue;
      }
      int split = rank;
      if (p_.copies != nullptr) {
        split = SplitOfRank(lane, count, rank, arrivals);
        if (split != rank) *own = LoadBlock(lane, split);
      }
      return {lane, split, min(ops::kSplitBlocks, count - split * ops::kSplitBlocks), pos};
    }
  }

 private:
  static constexpr int kNear = 3;  // entries of so many warps are loaded before it is known whether they count

  __device__ int64_t Entry(int lane, int i) const {
    return static_cast<int64_t>(lane) * p_.selection.width + min(i, p_.selection.width - 1);
  }
  __device__ int32_t Arrival(int lane, int i) const { return p_.arrivals[Entry(lane, i)]; }
  __device__ Block LoadBlock(int lane, int split) const {
    if (self_ >= ops::kSplitBlocks) return {};
    const int64_t at = Entry(lane, split * ops::kSplitBlocks + self_);
    return {p_.addresses[at], p_.selection.ids[at], p_.copies == nullptr ? 0 : p_.arrivals[at]};
  }
  // Which split comes at `rank`: those whose blocks are all there first. `near`: the arrivals of the first entries.
  __device__ int SplitOfRank(int lane, int count, int rank, const int32_t (&near)[kNear]) const {
    static_assert(kWarpSize % ops::kSplitBlocks == 0, "splits lie within a warp's entries");
    constexpr unsigned kFirst = kAllLanes / ((1u << ops::kSplitBlocks) - 1);  // a bit for the first block of each split
    int found = -1;
    const auto look = [&](bool late, int first, int32_t arrival) {
      const unsigned waits = __ballot_sync(kAllLanes, first + self_ < count && arrival > 0);
      unsigned splits = 0;
#pragma unroll
      for (int i = 0; i < ops::kSplitBlocks; ++i) splits |= waits >> i;
      splits = (late ? splits : ~splits) & kFirst;
      if (count - first < kWarpSize) splits &= (1u << (count - first)) - 1;
      const int has = __popc(splits);
      if (rank < has) {
        for (int skip = rank; skip > 0; --skip) splits &= splits - 1;
        found = (first + __ffs(static_cast<int>(splits)) - 1) / ops::kSplitBlocks;
      }
      rank -= has;
    };
    for (const bool late : {false, true}) {
#pragma unroll
      for (int i = 0; i < kNear; ++i) {
        if (found < 0 && i * kWarpSize < count) look(late, i * kWarpSize, near[i]);
      }
      for (int first = kNear * kWarpSize; found < 0 && first < count; first += kWarpSize) {
        look(late, first, Arrival(lane, first + self_));
      }
      if (found >= 0) break;
    }
    return found;
  }
  // No lane has more splits than the longest selection, which may be far shorter than there is room for.
  __device__ void Shorten() {
    int most = 0;
    for (int lane = self_; lane < p_.lanes; lane += kWarpSize) most = max(most, ops::SplitsOf(SelectedOf(p_, lane)));
    end_ = min(end_, WarpMax(most) * p_.lanes);
    shortened_ = true;
  }

  const SeatParams& p_;
  int self_, end_;
  bool shortened_ = false;
  int next_;
};

// Counts a split of which this CTA's threads have written the state (and met since). Each thread for a split of its
// own; lane -1: none.
__device__ inline void FinishSplit(const SeatParams& p, const SeatItem& item) {
  __threadfence();
  if (item.lane >= 0) atomicAdd(p.done + item.lane, 1);
}

// A head of a lane that a warp merges; lane -1: there is none.
struct SeatHead {
  int lane, head, splits;
};

// Head `index` of all. What it needs to know does not wait for the splits.
__device__ inline SeatHead FindHead(const SeatParams& p, int index) {
  const int lane = index / p.group;
  if (lane >= p.lanes) return {-1, 0, 0};
  return {lane, index % p.group, ops::SplitsOf(SelectedOf(p, lane))};
}

// One head's answer: its states merged in the order of the splits, by a warp, kWide channels a thread. States are read
// from L2, as other multiprocessors have written them: those of the first splits, all there usually are, at once.
template <int kWide>
__device__ inline void MergeHead(const SeatParams& p, const SeatHead& at) {
  constexpr int kAhead = 9;
  const int self = static_cast<int>(threadIdx.x) % kWarpSize, channels = p.states.v_dim;
  const int64_t first = static_cast<int64_t>(at.lane) * p.splits * p.group + at.head;  // of the states, `group` apart
  const int64_t row =
      at.lane / p.kv_heads * p.out_stride + (static_cast<int64_t>(at.lane % p.kv_heads) * p.group + at.head) * channels;
  for (int c = self * kWide; c < channels; c += kWarpSize * kWide) {
    float x[kAhead][kWide], m[kAhead], l[kAhead];
    const auto load = [&](int begin) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const bool there = begin + i < at.splits;
        const int64_t state = first + static_cast<int64_t>(there ? begin + i : 0) * p.group;
        m[i] = there ? __ldcg(p.states.m + state) : -INFINITY;
        l[i] = there ? __ldcg(p.states.l + state) : 0.0f;
#pragma unroll
        for (int j = 0; j < kWide; ++j) x[i][j] = 0;
        if (!there) continue;
        const float* from = p.states.acc + state * channels + c;
        if constexpr (kWide == 4) {
          const float4 four = __ldcg(reinterpret_cast<const float4*>(from));
          x[i][0] = four.x, x[i][1] = four.y, x[i][2] = four.z, x[i][3] = four.w;
        } else if constexpr (kWide == 2) {
          const float2 two = __ldcg(reinterpret_cast<const float2*>(from));
          x[i][0] = two.x, x[i][1] = two.y;
        } else {
          x[i][0] = __ldcg(from);
        }
      }
    };
    load(0);
    float max = -INFINITY;
    for (int s = kAhead + self; s < at.splits; s += kWarpSize) {
      max = fmaxf(max, __ldcg(p.states.m + first + int64_t{s} * p.group));
    }
    max = WarpMax(max);
#pragma unroll
    for (int i = 0; i < kAhead; ++i) max = fmaxf(max, m[i]);
    float sum = 0, acc[kWide] = {};
    for (int begin = 0; begin < at.splits; begin += kAhead) {
      if (begin > 0) load(begin);
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const float scale = m[i] == -INFINITY ? 0.0f : expf(m[i] - max);
        sum += l[i] * scale;
#pragma unroll
        for (int j = 0; j < kWide; ++j) acc[j] += x[i][j] * scale;
      }
    }
#pragma unroll
    for (int j = 0; j < kWide; ++j) {
      const float value = sum == 0 ? 0.0f : acc[j] / sum;
      if (p.out_dtype == DType::kF32) {
        static_cast<float*>(p.out)[row + c + j] = value;
      } else {
        static_cast<BFloat16*>(p.out)[row + c + j] = FromFloat<BFloat16>(value);
      }
    }
  }
}

// The last thing that a CTA does, all of its threads, when it has no split left: the heads of all lanes, by the warps
// of all CTAs; each waits for the splits of its lane.
template <int kWide>
__device__ inline void MergeHeads(const SeatParams& p) {
  const int warps = static_cast<int>(blockDim.x) / kWarpSize, warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int ctas = static_cast<int>(gridDim.x), self = static_cast<int>(threadIdx.x) % kWarpSize;
  int index = warp * ctas + static_cast<int>(blockIdx.x);
  SeatHead at = FindHead(p, index);
  __syncthreads();  // all that this CTA fetches and computes has been handed on
  if (warp == warps - 1) {
    const int before = self == 0 ? atomicAdd(p.ready, 1) : 0;
    if (__shfl_sync(kAllLanes, before, 0) == ctas - 1) {  // nobody takes or waits for anything but `done` now
      if (self == 0) *p.fetched = *p.ready = 0;
      for (int i = self, copies = CopiesOf(p); i < copies; i += kWarpSize) p.arrived[i] = 0;
    }
  }
  for (; at.lane >= 0; at = FindHead(p, index)) {
    while (LoadAcquire(p.done + at.lane) < at.splits) __nanosleep(32);
    __syncwarp();
    if (self == 0 && atomicAdd(p.merging + at.lane, 1) == p.group - 1) p.done[at.lane] = p.merging[at.lane] = 0;
    MergeHead<kWide>(p, at);
    index += warps * ctas;
  }
}

// On tensor cores. False where the device or the shape does not allow it (seat_attention_mma.cu): nothing is launched.
bool LaunchSeatMma(const SeatParams& p, int multiprocessors, cudaStream_t stream);

}  // namespace nosa::cuda
