// What the tensor core kernels on whole sequences share: which tokens a CTA and a warp have, and the ring that keys and
// values come through. A packet is 16 (token, head) pairs of one KV head, a token's heads side by side.
#pragma once

#include "backend/cuda/sequences.h"
#include "backend/cuda/shared_rows.cuh"

namespace nosa::cuda {

inline constexpr int kSequenceWarps = 4, kSequenceThreads = kSequenceWarps * kWarpSize;
inline constexpr int kSequenceBlock = 64;  // tokens

__device__ __forceinline__ int LaneOfThread() { return static_cast<int>(threadIdx.x) % kWarpSize; }

// Neighbouring tokens of one sequence, seen by one KV head: those of a CTA, or of one packet.
struct TileOfTokens {
  int64_t first_row;  // of the sequence
  int begin, end;     // tokens
  int kv_head;

  // No tokens: for copies of keys.
  __device__ __forceinline__ TileOfTokens(int64_t row, int head) : first_row(row), begin(0), end(0), kv_head(head) {}
  // Blocks (tile, KV head, sequence), the last tokens, which read most, first.
  __device__ __forceinline__ TileOfTokens(const SequencePlan& plan, int packets) {
    const int tokens = packets * 16 / plan.group;
    first_row = static_cast<int64_t>(blockIdx.z) * plan.tokens;
    begin = static_cast<int>(gridDim.x - 1 - blockIdx.x) * tokens;
    end = min(begin + tokens, plan.tokens);
    kv_head = static_cast<int>(blockIdx.y);
  }

  // Starts copying the pairs' rows of a [rows, heads, D] tensor; zeros from the sequence's end on.
  template <int D>
  __device__ __forceinline__ void CopyRows(const SequencePlan& plan, const void* from, int packets, uint32_t to) const {
    constexpr int kPieces = D / 8;
    const char* bytes = static_cast<const char*>(from);
    for (int i = static_cast<int>(threadIdx.x); i < packets * 16 * kPieces; i += kSequenceThreads) {
      const int pair = i / kPieces, piece = i % kPieces, token = begin + pair / plan.group;
      const bool valid = token < end;
      const int64_t item = (first_row + token) * plan.heads + kv_head * plan.group + pair % plan.group;
      CopyAsync16(to + Rows<D>::Offset(pair, piece * 8), bytes + (valid ? (item * D + piece * 8) * 2 : 0), valid);
    }
  }

  // of_tile[w]: word w of the blocks that some token reads. Ends synchronised.
  __device__ __forceinline__ void FindBlocks(const SequencePlan& plan, uint64_t* of_tile) const {
    for (int w = static_cast<int>(threadIdx.x); w < plan.words; w += kSequenceThreads) {
      uint64_t all = 0;
      // What lies behind a token's own block is no part of it, whatever the mask says.
      const int last = (end - 1) / kSequenceBlock;
      for (int t = begin; t < end && w <= last / 64; ++t) all |= plan.Mask(first_row + t, kv_head)[w];
      if (w == last / 64 && last % 64 != 63) all &= (uint64_t{1} << (last % 64 + 1)) - 1;
      of_tile[w] = all;
    }
    __syncthreads();
  }
};

inline dim3 TileGrid(const SequencePlan& plan, int packets) {
  const int tokens = packets * 16 / plan.group;
  return dim3(static_cast<unsigned>((plan.tokens + tokens - 1) / tokens), static_cast<unsigned>(plan.kv_heads),
              static_cast<unsigned>(plan.sequences));
}

// The blocks of a tile, ascending.
struct BlockWalk {
  const uint64_t* words;
  int count, word = 0;
  uint64_t left;

  __device__ __forceinline__ BlockWalk(const uint64_t* of_tile, int n) : words(of_tile), count(n), left(of_tile[0]) {}
  // -1: there is none.
  __device__ __forceinline__ int Next() {
    while (left == 0) {
      if (++word >= count) return -1;
      left = words[word];
    }
    const int bit = __ffsll(static_cast<long long>(left)) - 1;
    left &= left - 1;
    return word * 64 + bit;
  }
};

// Two of a packet's rows, those that this lane holds of an operand C: row lane / 4 and eight further.
struct PacketRows {
  int token[2];
  int64_t item[2];  // row and head; -1: beyond the sequence's end
  bool reads[2];    // the block looked at
  int first_token;
  uint64_t mask[2];
  int word = -1;

  __device__ __forceinline__ void Enter(const SequencePlan& plan, const TileOfTokens& tile, int packet) {
    first_token = tile.begin + packet * 16 / plan.group;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int pair = packet * 16 + LaneOfThread() / 4 + 8 * r;
      token[r] = tile.begin + pair / plan.group;
      item[r] = token[r] < tile.end
                    ? (tile.first_row + token[r]) * plan.heads + tile.kv_head * plan.group + pair % plan.group
                    : -1;
    }
  }
  // Whether some row reads the block.
  __device__ __forceinline__ bool Look(const SequencePlan& plan, const TileOfTokens& tile, int block) {
    if (block / 64 != word) {
      word = block / 64;
#pragma unroll
      for (int r = 0; r < 2; ++r) mask[r] = item[r] >= 0 ? plan.Mask(tile.first_row + token[r], tile.kv_head)[word] : 0;
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) reads[r] = (mask[r] >> (block % 64) & 1) != 0 && block * kSequenceBlock <= token[r];
    return __any_sync(kAllLanes, reads[0] || reads[1]);
  }
  // Whether every row reads it. Apart from Look, as ptxas 13.0 takes one vote for the other where both are made and only
  // one is used.
  __device__ __forceinline__ bool AllRead() const { return __all_sync(kAllLanes, reads[0] && reads[1]); }
  // Whether some token of the block may come after some row's.
  __device__ __forceinline__ bool ReachesDiagonal(int block) const {
    return (block + 1) * kSequenceBlock > first_token;
  }
};

// Keys, values and biases (in powers of two) of two blocks: one is computed while the next one comes.
template <int D>
struct KeyRing {
  static constexpr int kStages = 2;
  alignas(1024) char k[kStages][kSequenceBlock * D * 2];
  alignas(1024) char v[kStages][kSequenceBlock * D * 2];
  alignas(16) float bias[kStages][kSequenceBlock];

  __device__ __forceinline__ void Copy(const SequencePlan& plan, const TileOfTokens& tile, int block, int stage) {
    CopyTokens(plan, plan.k, tile, block, SharedAddress(k[stage]));
    CopyTokens(plan, plan.v, tile, block, SharedAddress(v[stage]));
    const int thread = static_cast<int>(threadIdx.x);
    if (thread < kSequenceBlock) {
      const int token = block * kSequenceBlock + thread;
      float value = 0;
      if (plan.s != nullptr && token < plan.tokens)
        value = plan.s[(tile.first_row + token) * plan.kv_heads + tile.kv_head] * kLog2E;
      bias[stage][thread] = value;
    }
  }
  // A [rows, KV heads, D] tensor's rows of the block; zeros from the sequence's end on.
  __device__ __forceinline__ static void CopyTokens(const SequencePlan& plan, const void* from,
                                                    const TileOfTokens& tile, int block, uint32_t to) {
    constexpr int kPieces = D / 8;
    const char* bytes = static_cast<const char*>(from);
#pragma unroll
    for (int j = 0; j < kSequenceBlock * kPieces / kSequenceThreads; ++j) {
      const int i = static_cast<int>(threadIdx.x) + j * kSequenceThreads, row = i / kPieces, piece = i % kPieces;
      const int token = block * kSequenceBlock + row;
      const bool valid = token < plan.tokens;
      const int64_t key = (tile.first_row + token) * plan.kv_heads + tile.kv_head;
      CopyAsync16(to + Rows<D>::Offset(row, piece * 8), bytes + (valid ? (key * D + piece * 8) * 2 : 0), valid);
    }
  }
  // compute(stage, block) for every block of the walk; what was copied before is there then, too.
  template <typename Compute>
  __device__ __forceinline__ void Walk(const SequencePlan& plan, const TileOfTokens& tile, BlockWalk walk,
                                       Compute&& compute) {
    int block = walk.Next(), stage = 0;
    if (block >= 0) Copy(plan, tile, block, 0);
    CommitCopies();
    while (block >= 0) {
      const int next = walk.Next();
      if (next >= 0) Copy(plan, tile, next, stage ^ 1);
      CommitCopies();
      WaitForCopies<1>();
      __syncthreads();
      compute(stage, block);
      __syncthreads();  // before the stage is filled again
      block = next;
      stage ^= 1;
    }
  }
};

// A product's result, [16, 8 n], as operands A of the next one.
template <int kTiles>
__device__ __forceinline__ void PackOperands(const float (&c)[kTiles][4], uint32_t (&a)[kTiles / 2][4]) {
#pragma unroll
  for (int i = 0; i < kTiles / 2; ++i) {
    a[i][0] = PackBf16(c[2 * i][0], c[2 * i][1]);
    a[i][1] = PackBf16(c[2 * i][2], c[2 * i][3]);
    a[i][2] = PackBf16(c[2 * i + 1][0], c[2 * i + 1][1]);
    a[i][3] = PackBf16(c[2 * i + 1][2], c[2 * i + 1][3]);
  }
}

// Row r of this lane's two, times `factor`, to row `item` of a [*, D] tensor of bf16.
template <int D>
__device__ __forceinline__ void StoreChannels(void* to, int64_t item, int r, const float (&acc)[D / 8][4],
                                              float factor) {
  uint32_t* words = reinterpret_cast<uint32_t*>(static_cast<char*>(to) + item * D * 2) + LaneOfThread() % 4;
#pragma unroll
  for (int n = 0; n < D / 8; ++n) words[n * 4] = PackBf16(acc[n][2 * r] * factor, acc[n][2 * r + 1] * factor);
}

}  // namespace nosa::cuda
