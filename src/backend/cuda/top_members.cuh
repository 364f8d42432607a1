// Sets of blocks by a CTA of kSelectThreads: the ones of largest key, and writing a set down.
#pragma once

#include "backend/cuda/device.cuh"

namespace nosa::cuda {

inline constexpr int kSelectThreads = 512;
inline constexpr int kSelectWarps = kSelectThreads / kWarpSize;
inline constexpr int kDigits = 2048;  // of a turn of the radix selection: 11 bits
inline constexpr int kDigitBits = 11;

// What a CTA that selects shares.
struct SelectShared {
  int counts[kDigits];  // all 0 between selections
  uint32_t low[kSelectWarps], high[kSelectWarps];
  int sums[kSelectWarps];
  uint32_t digit;
  int above, equal;
};

// Makes members of the blocks of largest key until there are `members`, `present` of which there are already; ties go
// to the lower block. Block thread + i * kSelectThreads has keys[i] (0: there is none) and is bit i of `member`. `ties`
// and `taken`: shared memory for a bit per block. All threads call; ends synchronised.
//
// A digit of the keys a turn, the largest first: how many keys have each digit, and among which of them the last member
// is. Digits count from the least key, and cover no more than the largest: keys that are close together fall apart.
template <int kPerThread>
__device__ inline void FillMembers(const uint32_t (&keys)[kPerThread], int blocks, int members, int present,
                                   SelectShared* shared, uint32_t* ties, uint32_t* taken, uint64_t* member) {
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarpSize, self = thread % kWarpSize;
  if (members <= present) return;
  uint32_t key[kPerThread];  // 0 for who does not compete
  uint32_t low = 0xffffffffu, high = 0;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const bool competes = thread + i * kSelectThreads < blocks && (*member >> i & 1) == 0;
    key[i] = competes ? max(keys[i], 1u) : 0;  // a score that is no number comes last
    if (key[i] != 0) low = min(low, key[i]);
    high = max(high, key[i]);
  }
  if (members >= blocks) {
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      if (thread + i * kSelectThreads < blocks) *member |= uint64_t{1} << i;
    }
    return;
  }
  low = __reduce_min_sync(kAllLanes, low);
  high = __reduce_max_sync(kAllLanes, high);
  if (self == 0) {
    shared->low[warp] = low;
    shared->high[warp] = high;
  }
  __syncthreads();
  low = __reduce_min_sync(kAllLanes, shared->low[self % kSelectWarps]);
  high = __reduce_max_sync(kAllLanes, shared->high[self % kSelectWarps]);

  int wanted = members - present;
  uint32_t base = low;  // of the range that the last member's key is in
  int shift = max(0, 32 - __clz(static_cast<int>(high - low)) - kDigitBits);
  uint32_t range = 0xffffffffu;  // keys up to base + range are in it
  bool exact = false;            // all keys from `base` on join
  while (true) {
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      if (key[i] >= base && key[i] - base <= range && key[i] != 0) {
        atomicAdd(&shared->counts[(key[i] - base) >> shift], 1);
      }
    }
    __syncthreads();
    // A thread has four digits, the first the largest ones.
    int4* mine = reinterpret_cast<int4*>(shared->counts) + (kSelectThreads - 1 - thread);
    const int4 count = *mine;
    *mine = make_int4(0, 0, 0, 0);
    const int all = count.x + count.y + count.z + count.w;
    int upto = all;
#pragma unroll
    for (int step = 1; step < kWarpSize; step *= 2) {
      const int from = __shfl_up_sync(kAllLanes, upto, step);
      if (self >= step) upto += from;
    }
    if (self == kWarpSize - 1) shared->sums[warp] = upto;
    __syncthreads();
    const int others = __reduce_add_sync(kAllLanes, self < warp ? shared->sums[self] : 0);
    int before = others + upto - all;
    if (before < wanted && before + all >= wanted) {
      const int each[4] = {count.w, count.z, count.y, count.x};
      uint32_t digit = static_cast<uint32_t>(kSelectThreads - 1 - thread) * 4 + 3;
      bool found = false;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (found) continue;
        if (before + each[i] >= wanted) {
          shared->digit = digit;
          shared->above = before;
          shared->equal = each[i];
          found = true;
        }
        before += each[i];
        --digit;
      }
    }
    __syncthreads();
    wanted -= shared->above;
    base += shared->digit << shift;
    exact = shared->equal == wanted;
    if (exact || shift == 0) break;
    range = (1u << shift) - 1;
    shift = max(0, shift - kDigitBits);
  }
  // A warp's blocks of one i are the bits of one word.
  uint64_t joins = 0, equal = 0;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    if (key[i] != 0 && (exact ? key[i] >= base : key[i] > base)) joins |= uint64_t{1} << i;
    if (key[i] != 0 && !exact && key[i] == base) equal |= uint64_t{1} << i;
  }
  *member |= joins;
  if (exact) return;
  // Of those that tie with the last one, the lowest.
  const int words = (blocks + 31) / 32;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const uint32_t votes = __ballot_sync(kAllLanes, (equal >> i & 1) != 0);
    const int w = warp + i * kSelectWarps;
    if (self == 0 && w < words) ties[w] = votes;
  }
  __syncthreads();
  if (warp == 0) {
    int left = wanted;
    for (int first = 0; first < words; first += kWarpSize) {
      const int w = first + self, n = w < words ? __popc(ties[w]) : 0;
      int before = n;
#pragma unroll
      for (int step = 1; step < kWarpSize; step *= 2) {
        const int from = __shfl_up_sync(kAllLanes, before, step);
        if (self >= step) before += from;
      }
      const int all = __shfl_sync(kAllLanes, before, kWarpSize - 1);
      uint32_t some = 0;
      int take = min(n, max(0, left - (before - n)));
      for (uint32_t bits = w < words ? ties[w] : 0; take > 0; --take, bits &= bits - 1) some |= bits & (0u - bits);
      if (w < words) taken[w] = some;
      left -= min(left, all);
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int w = warp + i * kSelectWarps;
    if (w < words && (taken[w] >> self & 1) != 0) *member |= uint64_t{1} << i;
  }
  __syncthreads();
}

// Writes the blocks with a bit in mask[0 .. words) in ascending order, `room` at most, and returns how many there are.
// All threads call; `prefix` is shared memory for words + 1 numbers.
__device__ inline int EmitBlocks(const uint32_t* mask, int words, int32_t* prefix, int32_t* ids, int room) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, self = static_cast<int>(threadIdx.x) % kWarpSize;
  if (warp == 0) {
    int sum = 0;
    for (int first = 0; first < words; first += kWarpSize) {
      int n = first + self < words ? __popc(mask[first + self]) : 0;
#pragma unroll
      for (int step = 1; step < kWarpSize; step *= 2) {
        const int below = __shfl_up_sync(kAllLanes, n, step);
        if (self >= step) n += below;
      }
      if (first + self < words) prefix[first + self + 1] = sum + n;
      sum += __shfl_sync(kAllLanes, n, kWarpSize - 1);
    }
    if (self == 0) prefix[0] = 0;
  }
  __syncthreads();
  for (int w = warp; w < words; w += kSelectWarps) {
    const uint32_t bits = mask[w];
    const int at = prefix[w] + __popc(bits & ((1u << self) - 1));
    if ((bits >> self & 1) != 0 && at < room) ids[at] = w * 32 + self;
  }
  return prefix[words];
}

}  // namespace nosa::cuda
