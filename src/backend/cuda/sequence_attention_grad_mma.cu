// Gradients of sparse attention of whole sequences on tensor cores, where the forward pass has them. Two kernels:
// QueryGradients goes from queries to the blocks they read, as the forward pass does; KeyGradients from a block to the
// packets that read it, a range of them at a time. The ranges of a block add up one after the other, so that sums have
// one order.
#include <algorithm>

#include "backend/cuda/sequence_tiles.cuh"

namespace nosa::cuda {
namespace {

// ---- queries ----

template <int D>
constexpr int kQueryPackets = D == 64 ? 2 : 1;

template <int D>
struct QueryShared {
  static constexpr int kPairs = kSequenceWarps * kQueryPackets<D> * 16;
  alignas(1024) char q[kPairs * D * 2];
  alignas(1024) char dout[kPairs * D * 2];
  KeyRing<D> ring;
};

// Adds the block's part to dq of packets [kFirst, kLast), half of its tokens at a time: registers hold no more.
template <int D, int kFirst, int kLast>
__device__ __forceinline__ void AddQueryGradients(const SequencePlan& plan, const QueryShared<D>& shared, int stage,
                                                  int block, const PacketRows (&packets)[kQueryPackets<D>],
                                                  const float2 (&sums)[kQueryPackets<D>][2], int warp,
                                                  float (&dq)[kQueryPackets<D>][D / 8][4]) {
  using Layout = Rows<D>;
  constexpr int kCount = kLast - kFirst, kTokens = kSequenceBlock / 2;
  const int lane = LaneOfThread(), column = lane % 4 * 2;
  const uint32_t first = static_cast<uint32_t>((warp * kQueryPackets<D> + kFirst) * 16) * Layout::kPitch;
  const uint32_t q = Layout::First(SharedAddress(shared.q) + first, lane);
  const uint32_t dout = Layout::First(SharedAddress(shared.dout) + first, lane);
  const float scale = plan.scale * kLog2E;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const uint32_t from = static_cast<uint32_t>(half * kTokens) * Layout::kPitch;
    const uint32_t k = Layout::FirstOfColumns(SharedAddress(shared.ring.k[stage]) + from, lane);
    const uint32_t v = Layout::FirstOfColumns(SharedAddress(shared.ring.v[stage]) + from, lane);
    float s[kCount][kTokens / 8][4], e[kCount][kTokens / 8][4];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
#pragma unroll
      for (int n = 0; n < kTokens / 8; ++n) {
        s[i][n][0] = s[i][n][1] = s[i][n][2] = s[i][n][3] = 0;
        e[i][n][0] = e[i][n][1] = e[i][n][2] = e[i][n][3] = 0;
      }
    }
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
      uint32_t a[kCount][4], da[kCount][4];
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        LoadMatrices(a[i], Layout::AtStep(q, step) + static_cast<uint32_t>(i) * 16u * Layout::kPitch);
        LoadMatrices(da[i], Layout::AtStep(dout, step) + static_cast<uint32_t>(i) * 16u * Layout::kPitch);
      }
#pragma unroll
      for (int n = 0; n < kTokens / 16; ++n) {
        uint32_t b[4], db[4];
        LoadMatrices(b, Layout::AtStep(k, step) + static_cast<uint32_t>(n) * 16u * Layout::kPitch);
        LoadMatrices(db, Layout::AtStep(v, step) + static_cast<uint32_t>(n) * 16u * Layout::kPitch);
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
          MultiplyAdd(s[i][2 * n], a[i], b[0], b[1]);
          MultiplyAdd(s[i][2 * n + 1], a[i], b[2], b[3]);
          MultiplyAdd(e[i][2 * n], da[i], db[0], db[1]);
          MultiplyAdd(e[i][2 * n + 1], da[i], db[2], db[3]);
        }
      }
    }
    uint32_t dlogits[kCount][kTokens / 16][4];
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const PacketRows& packet = packets[kFirst + i];
      const bool cut = packet.ReachesDiagonal(block);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float2 sum = sums[kFirst + i][r];
        const float lse = packet.reads[r] ? sum.x : INFINITY;
        const int last = packet.token[r] - block * kSequenceBlock - half * kTokens;
#pragma unroll
        for (int n = 0; n < kTokens / 8; ++n) {
          const float2 bias =
              *reinterpret_cast<const float2*>(&shared.ring.bias[stage][half * kTokens + n * 8 + column]);
#pragma unroll
          for (int c = 0; c < 2; ++c) {
            float w = Exp2(__fmaf_rn(s[i][n][2 * r + c], scale, c == 0 ? bias.x : bias.y) - lse);
            if (cut && n * 8 + column + c > last) w = 0;
            e[i][n][2 * r + c] = w * (e[i][n][2 * r + c] - sum.y);
          }
        }
      }
      PackOperands(e[i], dlogits[i]);
    }
    const uint32_t keys = Layout::First(SharedAddress(shared.ring.k[stage]) + from, lane);
#pragma unroll
    for (int c = 0; c < kTokens / 16; ++c) {
#pragma unroll
      for (int n = 0; n < D / 16; ++n) {
        uint32_t b[4];
        LoadMatricesTransposed(b, Layout::AtStep(keys, n) + static_cast<uint32_t>(c) * 16u * Layout::kPitch);
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
          MultiplyAdd(dq[kFirst + i][2 * n], dlogits[i][c], b[0], b[1]);
          MultiplyAdd(dq[kFirst + i][2 * n + 1], dlogits[i][c], b[2], b[3]);
        }
      }
    }
  }
}

// Blocks as Attend of the forward pass.
template <int D>
__global__ void __launch_bounds__(kSequenceThreads, 2) QueryGradients(const __grid_constant__ SequencePlan plan) {
  extern __shared__ __align__(1024) char memory[];
  QueryShared<D>& shared = *reinterpret_cast<QueryShared<D>*>(memory);
  uint64_t* const of_tile = reinterpret_cast<uint64_t*>(memory + sizeof(QueryShared<D>));  // [words]
  constexpr int kPackets = kQueryPackets<D>, kOfTile = kSequenceWarps * kPackets;
  const TileOfTokens tile(plan, kOfTile);
  tile.CopyRows<D>(plan, plan.q, kOfTile, SharedAddress(shared.q));
  tile.CopyRows<D>(plan, plan.dout, kOfTile, SharedAddress(shared.dout));
  CommitCopies();
  tile.FindBlocks(plan, of_tile);

  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  PacketRows packets[kPackets];
  float2 sums[kPackets][2];
  float dq[kPackets][D / 8][4];
#pragma unroll
  for (int i = 0; i < kPackets; ++i) {
    packets[i].Enter(plan, tile, warp * kPackets + i);
#pragma unroll
    for (int r = 0; r < 2; ++r)
      sums[i][r] = packets[i].item[r] >= 0 ? plan.row_sums[packets[i].item[r]] : make_float2(INFINITY, 0);
#pragma unroll
    for (int n = 0; n < D / 8; ++n) dq[i][n][0] = dq[i][n][1] = dq[i][n][2] = dq[i][n][3] = 0;
  }
  BlockWalk walk(of_tile, plan.words);
  shared.ring.Walk(plan, tile, walk, [&](int stage, int block) {
    bool any[kPackets];
#pragma unroll
    for (int i = 0; i < kPackets; ++i) any[i] = packets[i].Look(plan, tile, block);
    if constexpr (kPackets == 1) {
      if (any[0]) AddQueryGradients<D, 0, 1>(plan, shared, stage, block, packets, sums, warp, dq);
    } else {
      if (any[0] && any[1]) {
        AddQueryGradients<D, 0, 2>(plan, shared, stage, block, packets, sums, warp, dq);
      } else if (any[0]) {
        AddQueryGradients<D, 0, 1>(plan, shared, stage, block, packets, sums, warp, dq);
      } else if (any[1]) {
        AddQueryGradients<D, 1, 2>(plan, shared, stage, block, packets, sums, warp, dq);
      }
    }
  });
#pragma unroll
  for (int i = 0; i < kPackets; ++i) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (packets[i].item[r] >= 0) StoreChannels<D>(plan.dq, packets[i].item[r], r, dq[i], plan.scale);
    }
  }
}

// ---- keys ----

constexpr int kRange = 256;  // packets that one CTA looks at
constexpr int kAtOnce = 4;   // of them in shared memory, twice
constexpr int kPairs = kAtOnce * 16;

// A CTA's share of the work: the packets [first, last) of a block. Shares of one block are taken in order.
struct KeyShare {
  int block, first, last, index, count;
  int kv_head, sequence;
};

// What finds the shares: packets are counted from the block's first token on, and share i of every block comes before
// share i + 1 of any.
struct KeyShares {
  int blocks, packets, packets_of_block;

  __host__ __device__ explicit KeyShares(const SequencePlan& plan)
      : blocks((plan.tokens + kSequenceBlock - 1) / kSequenceBlock),
        packets((plan.tokens * plan.group + 15) / 16),
        packets_of_block(kSequenceBlock * plan.group / 16) {}
  // Blocks, the first ones, with more than `index` shares.
  __host__ __device__ int With(int index) const {
    const int left = packets - index * kRange;
    return left <= 0 ? 0 : min((left + packets_of_block - 1) / packets_of_block, blocks);
  }
  __host__ __device__ int Count() const {
    int count = 0;
    for (int i = 0; With(i) > 0; ++i) count += With(i);
    return count;
  }
  __device__ KeyShare At(int item, int lanes, int kv_heads) const {
    KeyShare share;
    const int lane = item % lanes;
    int left = item / lanes;
    for (share.index = 0; left >= With(share.index); ++share.index) left -= With(share.index);
    share.block = left;
    share.kv_head = lane % kv_heads;
    share.sequence = lane / kv_heads;
    share.first = left * packets_of_block + share.index * kRange;
    share.last = min(share.first + kRange, packets);
    share.count = (packets - left * packets_of_block + kRange - 1) / kRange;
    return share;
  }
};

template <int D>
struct KeyShared {
  alignas(1024) char q[2][kPairs * D * 2];
  alignas(1024) char dout[2][kPairs * D * 2];
  alignas(16) float2 sums[2][kPairs];
  uint32_t readers[kRange];  // packet - first << 16 | which of its tokens
  int of_warps[kRange / kWarpSize];
  int item;
};

// Gradients so far of blocks with several shares: [sequences, KV heads, tokens rounded up to blocks] of each.
struct KeySums {
  float *dk, *dv, *ds;
};

template <int D>
struct KeyAccumulators {
  float dk[D / 8][4], dv[D / 8][4], ds[2];
};

// Starts copying readers [at, at + kAtOnce).
template <int D>
__device__ __forceinline__ void CopyPackets(const SequencePlan& plan, KeyShared<D>& shared, const KeyShare& share,
                                            int at, int count, int stage) {
  constexpr int kPieces = D / 8;
  const uint32_t q = SharedAddress(shared.q[stage]), dout = SharedAddress(shared.dout[stage]);
  const int64_t first_row = static_cast<int64_t>(share.sequence) * plan.tokens;
#pragma unroll
  for (int j = 0; j < kPairs * kPieces / kSequenceThreads; ++j) {
    const int i = static_cast<int>(threadIdx.x) + j * kSequenceThreads, pair = i / kPieces, piece = i % kPieces;
    const int reader = at + pair / 16;
    const int packet = share.first + (reader < count ? static_cast<int>(shared.readers[reader] >> 16) : 0);
    const int token = (packet * 16 + pair % 16) / plan.group, head = (packet * 16 + pair % 16) % plan.group;
    const bool valid = reader < count && token < plan.tokens;
    const int64_t item = valid ? (first_row + token) * plan.heads + share.kv_head * plan.group + head : 0;
    const uint32_t to = Rows<D>::Offset(pair, piece * 8);
    CopyAsync16(q + to, static_cast<const char*>(plan.q) + (item * D + piece * 8) * 2, valid);
    CopyAsync16(dout + to, static_cast<const char*>(plan.dout) + (item * D + piece * 8) * 2, valid);
    if (piece == 0) {
      CopyAsync4(SharedAddress(&shared.sums[stage][pair].x), &plan.row_sums[item].x, valid);
      CopyAsync4(SharedAddress(&shared.sums[stage][pair].y), &plan.row_sums[item].y, valid);
    }
  }
}

// The packets of the share that read its block, in order; returns how many. Ends synchronised.
template <int D>
__device__ __forceinline__ int FindReaders(const SequencePlan& plan, KeyShared<D>& shared, const KeyShare& share) {
  constexpr int kTurns = kRange / kSequenceThreads;
  const int lane = LaneOfThread(), warp = static_cast<int>(threadIdx.x) / kWarpSize, word = share.block / 64;
  const int tokens = 16 / plan.group;
  const int64_t first_row = static_cast<int64_t>(share.sequence) * plan.tokens;
  uint32_t entry[kTurns];
  unsigned votes[kTurns];
#pragma unroll
  for (int i = 0; i < kTurns; ++i) {
    const int packet = share.first + i * kSequenceThreads + static_cast<int>(threadIdx.x);
    uint32_t readers = 0;
    for (int t = 0; t < tokens; ++t) {
      const int token = packet * tokens + t;
      if (packet < share.last && token < plan.tokens)
        readers |= static_cast<uint32_t>(plan.Mask(first_row + token, share.kv_head)[word] >> (share.block % 64) & 1)
                   << t;
    }
    entry[i] = static_cast<uint32_t>(packet - share.first) << 16 | readers;
    votes[i] = __ballot_sync(kAllLanes, readers != 0);
    if (lane == 0) shared.of_warps[i * kSequenceWarps + warp] = __popc(votes[i]);
  }
  __syncthreads();
  int count = 0;
#pragma unroll
  for (int w = 0; w < kRange / kWarpSize; ++w) {
    if (w % kSequenceWarps == warp && (votes[w / kSequenceWarps] >> lane & 1) != 0)
      shared.readers[count + __popc(votes[w / kSequenceWarps] & ((1u << lane) - 1))] = entry[w / kSequenceWarps];
    count += shared.of_warps[w];
  }
  __syncthreads();
  return count;
}

// 16 keys of the block times the 16 pairs of a packet, channels as depth: keys are operands, pairs lie in `rows`.
template <int D>
__device__ __forceinline__ void KeyProducts(const uint32_t (&keys)[D / 16][4], uint32_t rows, float (&c)[2][4]) {
#pragma unroll
  for (int n = 0; n < 2; ++n) c[n][0] = c[n][1] = c[n][2] = c[n][3] = 0;
#pragma unroll
  for (int step = 0; step < D / 16; ++step) {
    uint32_t b[4];
    LoadMatrices(b, Rows<D>::AtStep(rows, step));
    MultiplyAdd(c[0], keys[step], b[0], b[1]);
    MultiplyAdd(c[1], keys[step], b[2], b[3]);
  }
}
// acc += weights [16 keys, 16 pairs] times the pairs' rows.
template <int D>
__device__ __forceinline__ void AddRows(const uint32_t (&weights)[4], uint32_t rows, float (&acc)[D / 8][4]) {
#pragma unroll
  for (int n = 0; n < D / 16; ++n) {
    uint32_t b[4];
    LoadMatricesTransposed(b, Rows<D>::AtStep(rows, n));
    MultiplyAdd(acc[2 * n], weights, b[0], b[1]);
    MultiplyAdd(acc[2 * n + 1], weights, b[2], b[3]);
  }
}

// A packet's part. `keys` and `values`: this warp's 16; `token`: of its two rows.
template <int D>
__device__ __forceinline__ void AddKeyGradients(const SequencePlan& plan, const KeyShared<D>& shared, int stage,
                                                int slot, uint32_t reader, const KeyShare& share,
                                                const uint32_t (&keys)[D / 16][4], const uint32_t (&values)[D / 16][4],
                                                const int (&token)[2], const float (&bias)[2],
                                                KeyAccumulators<D>* acc) {
  using Layout = Rows<D>;
  const int lane = LaneOfThread(), column = lane % 4 * 2;
  const uint32_t at = static_cast<uint32_t>(slot * 16) * Layout::kPitch;
  const uint32_t q = SharedAddress(shared.q[stage]) + at, dout = SharedAddress(shared.dout[stage]) + at;
  float s[2][4], e[2][4];
  KeyProducts<D>(keys, Layout::FirstOfColumns(q, lane), s);
  KeyProducts<D>(values, Layout::FirstOfColumns(dout, lane), e);
  const int packet = share.first + static_cast<int>(reader >> 16), tokens = 16 / plan.group;
  const float scale = plan.scale * kLog2E;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const float4 sums = *reinterpret_cast<const float4*>(&shared.sums[stage][slot * 16 + n * 8 + column]);
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const int of_packet = (n * 8 + column + c) / plan.group, query = packet * tokens + of_packet;
      const bool reads = (reader >> of_packet & 1) != 0;
      const float lse = c == 0 ? sums.x : sums.z, mean = c == 0 ? sums.y : sums.w;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const bool seen = reads && token[r] <= query;
        const float w = seen ? Exp2(__fmaf_rn(s[n][2 * r + c], scale, bias[r]) - lse) : 0.0f;
        const float dlogit = w * (e[n][2 * r + c] - mean);
        s[n][2 * r + c] = w;
        e[n][2 * r + c] = dlogit;
        acc->ds[r] += dlogit;
      }
    }
  }
  uint32_t weights[1][4], dlogits[1][4];
  PackOperands(s, weights);
  PackOperands(e, dlogits);
  AddRows<D>(weights[0], Layout::First(dout, lane), acc->dv);
  AddRows<D>(dlogits[0], Layout::First(q, lane), acc->dk);
}

// Waits for the shares before this one; adds their sums; leaves the new ones for the next, or the result.
template <int D>
__device__ __forceinline__ void HandOn(const SequencePlan& plan, const KeyShare& share, const KeySums& sums, int* turn,
                                       const int (&token)[2], KeyAccumulators<D>* acc) {
  const int lane = LaneOfThread(), padded = (plan.tokens + kSequenceBlock - 1) / kSequenceBlock * kSequenceBlock;
  const int64_t lanes_first = (static_cast<int64_t>(share.sequence) * plan.kv_heads + share.kv_head) * padded;
  const bool last = share.index + 1 == share.count;
  if (share.index > 0) {
    if (threadIdx.x == 0) {
      while (atomicAdd(turn, 0) != share.index) __nanosleep(100);
      __threadfence();
    }
    __syncthreads();
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int64_t row = lanes_first + token[r];
    float2* dk = reinterpret_cast<float2*>(sums.dk + row * D) + lane % 4;
    float2* dv = reinterpret_cast<float2*>(sums.dv + row * D) + lane % 4;
    if (share.index > 0) {
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        const float2 k = __ldcg(dk + n * 4), v = __ldcg(dv + n * 4);
        acc->dk[n][2 * r] += k.x;
        acc->dk[n][2 * r + 1] += k.y;
        acc->dv[n][2 * r] += v.x;
        acc->dv[n][2 * r + 1] += v.y;
      }
      acc->ds[r] += __ldcg(sums.ds + row);
    }
    if (!last) {
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        __stcg(dk + n * 4, make_float2(acc->dk[n][2 * r], acc->dk[n][2 * r + 1]));
        __stcg(dv + n * 4, make_float2(acc->dv[n][2 * r], acc->dv[n][2 * r + 1]));
      }
      if (lane % 4 == 0) __stcg(sums.ds + row, acc->ds[r]);
    } else if (token[r] < plan.tokens) {
      const int64_t key =
          (static_cast<int64_t>(share.sequence) * plan.tokens + token[r]) * plan.kv_heads + share.kv_head;
      StoreChannels<D>(plan.dk, key, r, acc->dk, plan.scale);
      StoreChannels<D>(plan.dv, key, r, acc->dv, 1.0f);
      if (lane % 4 == 0 && plan.ds != nullptr) plan.ds[key] = acc->ds[r];
    }
  }
  if (share.count == 1) return;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) atomicExch(turn, last ? 0 : share.index + 1);
}

// CTAs take shares in the order in which they start, so that whoever waits for a share waits for one that runs.
// counters[0]: shares taken; then a turn per lane and block.
template <int D>
__global__ void __launch_bounds__(kSequenceThreads, D == 64 ? 3 : 2)
    KeyGradients(const __grid_constant__ SequencePlan plan, const KeySums key_sums, int* counters, int items) {
  extern __shared__ __align__(1024) char memory[];
  KeyShared<D>& shared = *reinterpret_cast<KeyShared<D>*>(memory);
  using Layout = Rows<D>;
  if (threadIdx.x == 0) {
    shared.item = atomicAdd(counters, 1);
    if (shared.item == items - 1) atomicExch(counters, 0);
  }
  __syncthreads();
  const KeyShares shares(plan);
  const int lanes = plan.sequences * plan.kv_heads;
  const KeyShare share = shares.At(shared.item, lanes, plan.kv_heads);
  int* turn = counters + 1 + (share.sequence * plan.kv_heads + share.kv_head) * shares.blocks + share.block;

  // The block's keys and values pass through the memory of the first packets.
  const int lane = LaneOfThread(), warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int64_t first_row = static_cast<int64_t>(share.sequence) * plan.tokens;
  const TileOfTokens tile(first_row, share.kv_head);
  KeyRing<D>::CopyTokens(plan, plan.k, tile, share.block, SharedAddress(shared.q[0]));
  KeyRing<D>::CopyTokens(plan, plan.v, tile, share.block, SharedAddress(shared.dout[0]));
  CommitCopies();
  WaitForCopies<0>();
  const int count = FindReaders(plan, shared, share);  // synchronises
  uint32_t keys[D / 16][4], values[D / 16][4];
  const uint32_t of_warp = static_cast<uint32_t>(warp * 16) * Layout::kPitch;
  int token[2];
  float bias[2];
#pragma unroll
  for (int step = 0; step < D / 16; ++step) {
    LoadMatrices(keys[step], Layout::AtStep(Layout::First(SharedAddress(shared.q[0]) + of_warp, lane), step));
    LoadMatrices(values[step], Layout::AtStep(Layout::First(SharedAddress(shared.dout[0]) + of_warp, lane), step));
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    token[r] = share.block * kSequenceBlock + warp * 16 + lane / 4 + 8 * r;
    const bool biased = plan.s != nullptr && token[r] < plan.tokens;
    bias[r] = biased ? plan.s[(first_row + token[r]) * plan.kv_heads + share.kv_head] * kLog2E : 0.0f;
  }
  __syncthreads();
  KeyAccumulators<D> acc;
#pragma unroll
  for (int n = 0; n < D / 8; ++n) {
    acc.dk[n][0] = acc.dk[n][1] = acc.dk[n][2] = acc.dk[n][3] = 0;
    acc.dv[n][0] = acc.dv[n][1] = acc.dv[n][2] = acc.dv[n][3] = 0;
  }
  acc.ds[0] = acc.ds[1] = 0;
  CopyPackets(plan, shared, share, 0, count, 0);
  CommitCopies();
  int stage = 0;
  for (int at = 0; at < count; at += kAtOnce, stage ^= 1) {
    if (at + kAtOnce < count) CopyPackets(plan, shared, share, at + kAtOnce, count, stage ^ 1);
    CommitCopies();
    WaitForCopies<1>();
    __syncthreads();
#pragma unroll 1
    for (int i = 0; i < kAtOnce && at + i < count; ++i) {
      AddKeyGradients<D>(plan, shared, stage, i, shared.readers[at + i], share, keys, values, token, bias, &acc);
    }
    __syncthreads();
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) acc.ds[r] = SumOfQuad(acc.ds[r]);
  HandOn<D>(plan, share, key_sums, turn, token, &acc);
}

int64_t PaddedRows(const SequencePlan& plan) {
  return static_cast<int64_t>(plan.sequences) * plan.kv_heads * KeyShares(plan).blocks * kSequenceBlock;
}

template <int D>
void LaunchFor(Context& context, ops::Stream stream, const SequencePlan& plan, char* scratch) {
  const cudaStream_t on = context.stream(stream);
  const size_t queries = sizeof(QueryShared<D>) + static_cast<size_t>(plan.words) * sizeof(uint64_t);
  AllowShared(reinterpret_cast<const void*>(QueryGradients<D>), queries);
  QueryGradients<D><<<TileGrid(plan, kSequenceWarps * kQueryPackets<D>), kSequenceThreads, queries, on>>>(plan);
  NOSA_CUDA_LAUNCHED();
  KeySums sums;
  sums.dk = reinterpret_cast<float*>(scratch);
  sums.dv = sums.dk + PaddedRows(plan) * D;
  sums.ds = sums.dv + PaddedRows(plan) * D;
  const KeyShares shares(plan);
  const int lanes = plan.sequences * plan.kv_heads, items = shares.Count() * lanes;
  int* counters = context.Counters(1 + static_cast<size_t>(lanes) * static_cast<size_t>(shares.blocks), stream);
  AllowShared(reinterpret_cast<const void*>(KeyGradients<D>), sizeof(KeyShared<D>));
  KeyGradients<D>
      <<<static_cast<unsigned>(items), kSequenceThreads, sizeof(KeyShared<D>), on>>>(plan, sums, counters, items);
  NOSA_CUDA_LAUNCHED();
}

}  // namespace

size_t SequenceGradScratch(const SequencePlan& plan) {
  return static_cast<size_t>(PaddedRows(plan)) * (2 * static_cast<size_t>(plan.dim) + 1) * sizeof(float);
}

bool SequenceGradOnTensorCores(Context& context, ops::Stream stream, const SequencePlan& plan, DType dtype,
                               char* scratch) {
  if (!TensorCoresTakeSequences(plan.group, plan.dim, plan.block_size, dtype)) return false;
  plan.dim == 64 ? LaunchFor<64>(context, stream, plan, scratch) : LaunchFor<128>(context, stream, plan, scratch);
  return true;
}

}  // namespace nosa::cuda
