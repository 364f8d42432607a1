// What the tensor core kernels of block attention share: a product of 16 (row, head) pairs and the tokens of one block,
// from dot products to weights, and the states of its pairs in registers. For .cu files of this room only.
#pragma once

#include "backend/cuda/block_attention.h"
#include "backend/cuda/mma.cuh"
#include "backend/cuda/partial_merge.cuh"

namespace nosa::cuda {

inline constexpr int kTokens = 64;  // of a block, those it does not have are zeros
inline constexpr int kChunk = 16;   // tokens, channels: the depth of a product

// The two pairs of 16 that a lane has in a product, pair lane / 4 and the one 8 after it, and what it holds of their
// states: m, l, and channels [first_channel, first_channel + 8 kColumns), those of its columns.
template <int kColumns>
struct Carried {
  int slot[2], head[2];  // slot: row of the slice; -1: none
  int state[2];          // -1: none yet
  float m[2], l[2];
  float acc[kColumns][4];

  __device__ __forceinline__ void Enter(int first_pair, int heads, int rows) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int pair = first_pair + static_cast<int>(threadIdx.x) % kWarpSize / 4 + 8 * r;
      slot[r] = pair / heads;
      head[r] = pair - slot[r] * heads;
      if (slot[r] >= rows) slot[r] = -1;
      state[r] = -1;
    }
  }

  // Every lane of a row writes m and l, so that each of them may read them again.
  __device__ __forceinline__ void Store(const ops::PartialStates& to, int r, int first_channel) const {
    if (state[r] < 0) return;
    const int64_t i = static_cast<int64_t>(state[r]) * to.heads + head[r];
    to.m[i] = m[r];
    to.l[i] = l[r];
    float* at = to.acc + i * to.v_dim + first_channel + static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      at[c * 8] = acc[c][2 * r];
      at[c * 8 + 1] = acc[c][2 * r + 1];
    }
  }

  // Makes `next` the state that pair r holds.
  __device__ __forceinline__ void Switch(const ops::PartialStates& states, int r, int next, int first_channel) {
    if (next < 0 || next == state[r]) return;
    Store(states, r, first_channel);
    state[r] = next;
    const int64_t i = static_cast<int64_t>(next) * states.heads + head[r];
    m[r] = states.m[i];
    const bool empty = m[r] == -INFINITY;
    l[r] = empty ? 0.0f : states.l[i];
    const float* at = states.acc + i * states.v_dim + first_channel + static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      acc[c][2 * r] = empty ? -0.0f : at[c * 8];
      acc[c][2 * r + 1] = empty ? -0.0f : at[c * 8 + 1];
    }
  }

  // Merges m and l with those of a part, when pair r sees it: without a branch.
  __device__ __forceinline__ MergeFactors MergeScalarsIf(bool active, int r, float part_m, float part_l) {
    const MergeFactors f = FactorsOf(m[r], part_m);
    l[r] = active ? MergeValues(l[r], f.first, part_l, f.second) : l[r];
    m[r] = active ? f.m : m[r];
    return f;
  }
  __device__ __forceinline__ MergeFactors MergeScalars(int r, float part_m, float part_l) {
    const MergeFactors f = FactorsOf(m[r], part_m);
    m[r] = f.m;
    l[r] = MergeValues(l[r], f.first, part_l, f.second);
    return f;
  }
};

// Dot products to logits of the lane's two columns from `token`; -inf from `visible` on.
template <bool kMask>
__device__ __forceinline__ void ToLogits(float& a, float& b, float scale, float2 bias, int token, int visible) {
  a = __fmaf_rn(a, scale, bias.x);
  b = __fmaf_rn(b, scale, bias.y);
  if constexpr (kMask) {
    if (token >= visible) a = -INFINITY;
    if (token + 1 >= visible) b = -INFINITY;
  }
}

// The order in which the weights of a pair are added: a lane's four of a chunk of 16 tokens, its chunks, the lanes.
__device__ __forceinline__ float SumOfChunk(float a, float b, float c, float d) {
  return __fadd_rn(__fadd_rn(a, b), __fadd_rn(c, d));
}
__device__ __forceinline__ float SumOfChunks(const float (&chunks)[kTokens / kChunk]) {
  static_assert(kTokens / kChunk == 4);
  return SumOfQuad(__fadd_rn(__fadd_rn(chunks[0], chunks[1]), __fadd_rn(chunks[2], chunks[3])));
}

// Dot products of 16 pairs to weights, relative to each pair's greatest logit; m and l of the parts.
template <bool kMask>
__device__ __forceinline__ void Softmax(float (&s)[kTokens / 8][4], const float* bias, float scale,
                                        const int (&visible)[2], float (&m)[2], float (&l)[2]) {
  const int column = static_cast<int>(threadIdx.x) % 4 * 2;
  m[0] = m[1] = -INFINITY;
#pragma unroll
  for (int n = 0; n < kTokens / 8; ++n) {
    const float2 of_token = *reinterpret_cast<const float2*>(bias + n * 8 + column);
    ToLogits<kMask>(s[n][0], s[n][1], scale, of_token, n * 8 + column, visible[0]);
    ToLogits<kMask>(s[n][2], s[n][3], scale, of_token, n * 8 + column, visible[1]);
    m[0] = fmaxf(m[0], fmaxf(s[n][0], s[n][1]));
    m[1] = fmaxf(m[1], fmaxf(s[n][2], s[n][3]));
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    m[r] = MaxOfQuad(m[r]);
    const float max = TimesLog2E(m[r]);
    float chunks[kTokens / kChunk];
#pragma unroll
    for (int c = 0; c < kTokens / kChunk; ++c) {
#pragma unroll
      for (int n = 2 * c; n < 2 * c + 2; ++n) {
        s[n][2 * r] = ExpBelow(s[n][2 * r], max);
        s[n][2 * r + 1] = ExpBelow(s[n][2 * r + 1], max);
      }
      chunks[c] = SumOfChunk(s[2 * c][2 * r], s[2 * c][2 * r + 1], s[2 * c + 1][2 * r], s[2 * c + 1][2 * r + 1]);
    }
    l[r] = SumOfChunks(chunks);
  }
}

// Weights of 16 pairs as operand A of the product with the values, which has the layout of the product they come from.
// Rounded to bf16, which turns the output by 2^-9 of the values.
__device__ __forceinline__ void ToOperand(const float (&s)[kTokens / 8][4], uint32_t (&weights)[kTokens / kChunk][4]) {
#pragma unroll
  for (int c = 0; c < kTokens / kChunk; ++c) {
#pragma unroll
    for (int j = 0; j < 4; ++j) weights[c][j] = PackBf16(s[2 * c + j / 2][j % 2 * 2], s[2 * c + j / 2][j % 2 * 2 + 1]);
  }
}

// acc = merge of acc and the part, of the pairs that see the block.
template <int kColumns>
__device__ __forceinline__ void MergeChannels(Carried<kColumns>& carried, int column, const float (&part)[4],
                                              const MergeFactors (&f)[2], const bool (&active)[2]) {
  float(&acc)[4] = carried.acc[column];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    if (active[r]) {
      acc[2 * r] = MergeValues(acc[2 * r], f[r].first, part[2 * r], f[r].second);
      acc[2 * r + 1] = MergeValues(acc[2 * r + 1], f[r].first, part[2 * r + 1], f[r].second);
    }
  }
}

}  // namespace nosa::cuda
