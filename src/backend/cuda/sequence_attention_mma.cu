// Sparse attention of whole sequences on tensor cores: bf16, head sizes of 64 and 128, blocks of 64 tokens. A packet is
// 16 (token, head) pairs of one KV head, a token's heads side by side; a warp has kPackets of them, neighbours, and a
// CTA has four warps. A CTA goes through the blocks that some of its tokens read; a warp computes those that some token
// of its own reads, so that what is computed in vain is what neighbouring tokens do not share.
#include <algorithm>

#include "backend/cuda/sequence_tiles.cuh"

namespace nosa::cuda {
namespace {

template <int D>
constexpr int kPackets = D == 64 ? 2 : 1;

template <int D>
struct Shared {
  alignas(1024) char q[kSequenceWarps * kPackets<D> * 16 * D * 2];
  KeyRing<D> ring;
};

template <int D>
struct Softmax {
  static constexpr int kTiles = D / 8;
  float acc[kTiles][4], most[2], sum[2];
};

// The block's part of packets [kFirst, kLast) of a warp.
template <int D, int kFirst, int kLast>
__device__ __forceinline__ void AttendBlock(const SequencePlan& plan, const Shared<D>& shared, int stage, int block,
                                            const PacketRows (&packets)[kPackets<D>], uint32_t q_base,
                                            Softmax<D> (&state)[kPackets<D>]) {
  using Layout = Rows<D>;
  constexpr int kCount = kLast - kFirst, kTokens = kSequenceBlock;
  const int lane = LaneOfThread();
  const uint32_t q = Layout::First(q_base, lane), k = Layout::FirstOfColumns(SharedAddress(shared.ring.k[stage]), lane);
  float s[kCount][kTokens / 8][4];
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
#pragma unroll
    for (int n = 0; n < kTokens / 8; ++n) s[i][n][0] = s[i][n][1] = s[i][n][2] = s[i][n][3] = 0;
  }
#pragma unroll
  for (int step = 0; step < D / 16; ++step) {
    uint32_t a[kCount][4];
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      LoadMatrices(a[i], Layout::AtStep(q, step) + static_cast<uint32_t>(kFirst + i) * 16u * Layout::kPitch);
#pragma unroll
    for (int n = 0; n < kTokens / 16; ++n) {
      uint32_t b[4];
      LoadMatrices(b, Layout::AtStep(k, step) + static_cast<uint32_t>(n) * 16u * Layout::kPitch);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        MultiplyAdd(s[i][2 * n], a[i], b[0], b[1]);
        MultiplyAdd(s[i][2 * n + 1], a[i], b[2], b[3]);
      }
    }
  }
  const float scale = plan.scale * kLog2E;
  const int column = lane % 4 * 2;
  uint32_t weights[kCount][kTokens / 16][4];
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    Softmax<D>& mine = state[kFirst + i];
    const PacketRows& packet = packets[kFirst + i];
#pragma unroll
    for (int n = 0; n < kTokens / 8; ++n) {
      const float2 bias = *reinterpret_cast<const float2*>(&shared.ring.bias[stage][n * 8 + column]);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        s[i][n][2 * r] = __fmaf_rn(s[i][n][2 * r], scale, bias.x);
        s[i][n][2 * r + 1] = __fmaf_rn(s[i][n][2 * r + 1], scale, bias.y);
      }
    }
    if (packet.ReachesDiagonal(block) || !packet.AllRead()) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int last = packet.reads[r] ? packet.token[r] - block * kTokens : -1;  // last token that is seen
#pragma unroll
        for (int n = 0; n < kTokens / 8; ++n) {
          if (n * 8 + column > last) s[i][n][2 * r] = -INFINITY;
          if (n * 8 + column + 1 > last) s[i][n][2 * r + 1] = -INFINITY;
        }
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float most = s[i][0][2 * r];
#pragma unroll
      for (int n = 0; n < kTokens / 8; ++n) most = fmaxf(most, fmaxf(s[i][n][2 * r], s[i][n][2 * r + 1]));
      most = fmaxf(mine.most[r], MaxOfQuad(most));
      const float shift = most == -INFINITY ? 0.0f : most, keep = Exp2(mine.most[r] - shift);
      float sum = 0;
#pragma unroll
      for (int n = 0; n < kTokens / 8; ++n) {
        s[i][n][2 * r] = Exp2(s[i][n][2 * r] - shift);
        s[i][n][2 * r + 1] = Exp2(s[i][n][2 * r + 1] - shift);
        sum += s[i][n][2 * r] + s[i][n][2 * r + 1];
      }
      mine.sum[r] = mine.sum[r] * keep + sum;  // of this lane's columns
      mine.most[r] = most;
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        mine.acc[n][2 * r] *= keep;
        mine.acc[n][2 * r + 1] *= keep;
      }
    }
    PackOperands(s[i], weights[i]);
  }
  const uint32_t v = Layout::First(SharedAddress(shared.ring.v[stage]), lane);
#pragma unroll
  for (int c = 0; c < kTokens / 16; ++c) {
#pragma unroll
    for (int n = 0; n < D / 16; ++n) {
      uint32_t b[4];
      LoadMatricesTransposed(b, Layout::AtStep(v, n) + static_cast<uint32_t>(c) * 16u * Layout::kPitch);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        MultiplyAdd(state[kFirst + i].acc[2 * n], weights[i][c], b[0], b[1]);
        MultiplyAdd(state[kFirst + i].acc[2 * n + 1], weights[i][c], b[2], b[3]);
      }
    }
  }
}

// Blocks (tile of tokens, the last ones first; KV head; sequence).
template <int D>
__global__ void __launch_bounds__(kSequenceThreads, D == 64 ? 2 : 2) Attend(const __grid_constant__ SequencePlan plan) {
  extern __shared__ __align__(1024) char memory[];
  Shared<D>& shared = *reinterpret_cast<Shared<D>*>(memory);
  uint64_t* const of_tile = reinterpret_cast<uint64_t*>(memory + sizeof(Shared<D>));  // [words]
  constexpr int kOfTile = kSequenceWarps * kPackets<D>;
  const TileOfTokens tile(plan, kOfTile);
  tile.CopyRows<D>(plan, plan.q, kOfTile, SharedAddress(shared.q));
  CommitCopies();
  tile.FindBlocks(plan, of_tile);

  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const uint32_t q_base = SharedAddress(shared.q) + static_cast<uint32_t>(warp * kPackets<D> * 16) * Rows<D>::kPitch;
  PacketRows packets[kPackets<D>];
  Softmax<D> state[kPackets<D>];
#pragma unroll
  for (int i = 0; i < kPackets<D>; ++i) {
    packets[i].Enter(plan, tile, warp * kPackets<D> + i);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      state[i].most[r] = -INFINITY;
      state[i].sum[r] = 0;
    }
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
      state[i].acc[n][0] = state[i].acc[n][1] = state[i].acc[n][2] = state[i].acc[n][3] = 0;
  }
  BlockWalk walk(of_tile, plan.words);
  shared.ring.Walk(plan, tile, walk, [&](int stage, int block) {
    bool any[kPackets<D>];
#pragma unroll
    for (int i = 0; i < kPackets<D>; ++i) any[i] = packets[i].Look(plan, tile, block);
    if constexpr (kPackets<D> == 1) {
      if (any[0]) AttendBlock<D, 0, 1>(plan, shared, stage, block, packets, q_base, state);
    } else {
      if (any[0] && any[1]) {
        AttendBlock<D, 0, 2>(plan, shared, stage, block, packets, q_base, state);
      } else if (any[0]) {
        AttendBlock<D, 0, 1>(plan, shared, stage, block, packets, q_base, state);
      } else if (any[1]) {
        AttendBlock<D, 1, 2>(plan, shared, stage, block, packets, q_base, state);
      }
    }
  });
#pragma unroll
  for (int i = 0; i < kPackets<D>; ++i) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float sum = SumOfQuad(state[i].sum[r]);
      if (packets[i].item[r] < 0) continue;
      const float inverse = sum > 0 ? 1.0f / sum : 0.0f;
      StoreChannels<D>(plan.out, packets[i].item[r], r, state[i].acc, inverse);
      if (LaneOfThread() % 4 == 0)
        plan.lse[packets[i].item[r]] = sum > 0 ? (state[i].most[r] + log2f(sum)) / kLog2E : -INFINITY;
    }
  }
}

template <int D>
void LaunchFor(Context& context, ops::Stream stream, const SequencePlan& plan) {
  const size_t shared = sizeof(Shared<D>) + static_cast<size_t>(plan.words) * sizeof(uint64_t);
  AllowShared(reinterpret_cast<const void*>(Attend<D>), shared);
  Attend<D><<<TileGrid(plan, kSequenceWarps * kPackets<D>), kSequenceThreads, shared, context.stream(stream)>>>(plan);
  NOSA_CUDA_LAUNCHED();
}

}  // namespace

bool SequenceAttentionOnTensorCores(Context& context, ops::Stream stream, const SequencePlan& plan, DType dtype) {
  if (!TensorCoresTakeSequences(plan.group, plan.dim, plan.block_size, dtype)) return false;
  plan.dim == 64 ? LaunchFor<64>(context, stream, plan) : LaunchFor<128>(context, stream, plan);
  return true;
}

}  // namespace nosa::cuda
