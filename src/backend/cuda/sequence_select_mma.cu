// Scores of blocks by queries on tensor cores: a warp has a packet, 16 (token, head) pairs of one KV head. Twice over
// the windows its tokens see: first for each pair's greatest logit and sum, then for the probabilities, which are
// summed over a token's heads; a block's score is the largest of its windows'.
#include <algorithm>

#include "backend/cuda/sequences.h"
#include "backend/cuda/shared_rows.cuh"

namespace nosa::cuda {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarpSize;
constexpr int kTile = 64;  // windows
constexpr int kPerBlock = 4, kTileBlocks = kTile / kPerBlock;

template <int D>
struct Shared {
  alignas(1024) char q[kWarps * 16 * D * 2];
  alignas(1024) char keys[2][kTile * D * 2];
  // Of a warp's tokens, the heads summed: the last window of the tile before, then the tile's; odd pitch.
  float sums[kWarps][16][kTile + 1];
};

template <int D>
__device__ __forceinline__ void CopyKeys(const SequenceScorePlan& plan, int sequence, int kv_head, int tile,
                                         uint32_t to) {
  constexpr int kPieces = D / 8;
#pragma unroll
  for (int j = 0; j < kTile * kPieces / kThreads; ++j) {
    const int i = static_cast<int>(threadIdx.x) + j * kThreads, row = i / kPieces, piece = i % kPieces;
    const int window = tile * kTile + row;
    const bool valid = window < plan.windows;
    const int64_t key =
        (static_cast<int64_t>(sequence) * plan.windows + (valid ? window : 0)) * plan.kv_heads + kv_head;
    CopyAsync16(to + Rows<D>::Offset(row, piece * 8), static_cast<const char*>(plan.keys) + (key * D + piece * 8) * 2,
                valid);
  }
}

// CTAs (tile of tokens, KV head, sequence); rows outside the chunk are passed over.
template <int D>
__global__ void __launch_bounds__(kThreads, 4)
    ScorePackets(const __grid_constant__ SequenceScorePlan plan, int first_sequence) {
  extern __shared__ __align__(1024) char memory[];
  Shared<D>& shared = *reinterpret_cast<Shared<D>*>(memory);
  using Layout = Rows<D>;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize, warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int sequence = first_sequence + static_cast<int>(blockIdx.z), kv_head = static_cast<int>(blockIdx.y);
  const int tokens = kWarps * 16 / plan.group, begin = static_cast<int>(gridDim.x - 1 - blockIdx.x) * tokens;
  const int64_t first_row = static_cast<int64_t>(sequence) * plan.tokens;
  const int end = min(begin + tokens, plan.tokens);
  if (first_row + end <= plan.row0 || first_row + begin >= plan.row0 + plan.chunk_rows) return;

  constexpr int kPieces = D / 8;
  for (int i = static_cast<int>(threadIdx.x); i < kWarps * 16 * kPieces; i += kThreads) {
    const int pair = i / kPieces, piece = i % kPieces, token = begin + pair / plan.group;
    const bool valid = token < end;
    const int64_t item = valid ? (first_row + token) * plan.heads + kv_head * plan.group + pair % plan.group : 0;
    CopyAsync16(SharedAddress(shared.q) + Layout::Offset(pair, piece * 8),
                static_cast<const char*>(plan.q) + (item * D + piece * 8) * 2, valid);
  }
  const int last_visible = plan.Visible(end - 1), tiles = (last_visible + kTile - 1) / kTile;
  if (tiles > 0) CopyKeys<D>(plan, sequence, kv_head, 0, SharedAddress(shared.keys[0]));
  CommitCopies();

  const uint32_t q = Layout::First(SharedAddress(shared.q) + static_cast<uint32_t>(warp * 16) * Layout::kPitch, lane);
  const int column = lane % 4 * 2;
  int visible[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int token = begin + (warp * 16 + lane / 4 + 8 * r) / plan.group;
    visible[r] = token < end ? plan.Visible(token) : 0;
  }
  const float scale = plan.scale * kLog2E;
  float most[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
  // Both passes as one row of tiles, so that the first tile of the second one comes while the first pass ends.
  for (int turn = 0; turn < 2 * tiles; ++turn) {
    const int tile = turn % tiles, stage = turn % 2;
    if (turn + 1 < 2 * tiles)
      CopyKeys<D>(plan, sequence, kv_head, (turn + 1) % tiles, SharedAddress(shared.keys[stage ^ 1]));
    CommitCopies();
    WaitForCopies<1>();
    __syncthreads();
    const uint32_t keys = Layout::FirstOfColumns(SharedAddress(shared.keys[stage]), lane);
    float s[kTile / 8][4];
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n) s[n][0] = s[n][1] = s[n][2] = s[n][3] = 0;
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
      uint32_t a[4];
      LoadMatrices(a, Layout::AtStep(q, step));
#pragma unroll
      for (int n = 0; n < kTile / 16; ++n) {
        uint32_t b[4];
        LoadMatrices(b, Layout::AtStep(keys, step) + static_cast<uint32_t>(n) * 16u * Layout::kPitch);
        MultiplyAdd(s[2 * n], a, b[0], b[1]);
        MultiplyAdd(s[2 * n + 1], a, b[2], b[3]);
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int here = visible[r] - tile * kTile;
#pragma unroll
      for (int n = 0; n < kTile / 8; ++n) {
#pragma unroll
        for (int c = 0; c < 2; ++c) s[n][2 * r + c] = n * 8 + column + c < here ? s[n][2 * r + c] * scale : -INFINITY;
      }
    }
    if (turn < tiles) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float greatest = most[r];
#pragma unroll
        for (int n = 0; n < kTile / 8; ++n) greatest = fmaxf(greatest, fmaxf(s[n][2 * r], s[n][2 * r + 1]));
        greatest = MaxOfQuad(greatest);
        const float shift = greatest == -INFINITY ? 0.0f : greatest;
        float part = 0;
#pragma unroll
        for (int n = 0; n < kTile / 8; ++n) part += Exp2(s[n][2 * r] - shift) + Exp2(s[n][2 * r + 1] - shift);
        sum[r] = sum[r] * Exp2(most[r] - shift) + part;
        most[r] = greatest;
      }
      if (turn + 1 == tiles) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const float all = SumOfQuad(sum[r]);
          sum[r] = all > 0 ? 1.0f / all : 0.0f;  // from here on: what exponentials are multiplied by
          if (most[r] == -INFINITY) most[r] = 0;
        }
      }
    } else {
      float(*mine)[kTile + 1] = shared.sums[warp];
#pragma unroll
      for (int n = 0; n < kTile / 8; ++n) {
        float p[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) p[i] = Exp2(s[n][i] - most[i / 2]) * sum[i / 2];
          // A token's heads are neighbouring rows: rows of an operand are lanes four apart, then the second eight.
#pragma unroll
        for (int heads = 1; heads < 8; heads *= 2) {
          if (heads < plan.group) {
#pragma unroll
            for (float& each : p) each += __shfl_xor_sync(kAllLanes, each, 4 * heads);
          }
        }
        if (plan.group == 16) {
          p[0] += p[2];
          p[1] += p[3];
        }
        const int row = lane / 4, slots = 8 / plan.group;  // tokens of eight rows
        if (row % plan.group == 0) {
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            const int slot = row / plan.group + r * slots;
            if (r == 1 && slots == 0) continue;
            mine[slot][1 + n * 8 + column] = p[2 * r];
            mine[slot][2 + n * 8 + column] = p[2 * r + 1];
          }
        }
      }
      __syncwarp();
      const int of_packet = 16 / plan.group;
      for (int i = lane; i < of_packet * kTileBlocks; i += kWarpSize) {
        const int slot = i / kTileBlocks, b = i % kTileBlocks, block = tile * kTileBlocks + b;
        const int token = begin + warp * of_packet + slot;
        const int64_t row = first_row + token;
        if (token >= end || block >= plan.blocks || row < plan.row0 || row >= plan.row0 + plan.chunk_rows) continue;
        const int seen = plan.Visible(token) - tile * kTile;  // windows of this tile, and more
        float best = b == 0 && tile == 0 ? -INFINITY : mine[slot][b * kPerBlock];
        if (seen + 1 <= b * kPerBlock) best = -INFINITY;
#pragma unroll
        for (int w = 0; w < kPerBlock; ++w) {
          if (b * kPerBlock + w < seen) best = fmaxf(best, mine[slot][1 + b * kPerBlock + w]);
        }
        plan.scores[((row - plan.row0) * plan.kv_heads + kv_head) * plan.blocks + block] = best;
      }
      __syncwarp();
      if (lane < of_packet) mine[lane][0] = mine[lane][kTile];
      __syncwarp();
    }
    __syncthreads();
  }
  // Blocks beyond the last tile: a window of the tile before may reach into one more; the others have none.
  const int of_packet = 16 / plan.group;
  for (int slot = 0; slot < of_packet; ++slot) {
    const int token = begin + warp * of_packet + slot;
    const int64_t row = first_row + token;
    if (token >= end || row < plan.row0 || row >= plan.row0 + plan.chunk_rows) continue;
    float* scores = plan.scores + ((row - plan.row0) * plan.kv_heads + kv_head) * plan.blocks;
    for (int block = tiles * kTileBlocks + lane; block < plan.blocks; block += kWarpSize) {
      const bool reached = block == tiles * kTileBlocks && tiles > 0 && plan.Visible(token) >= tiles * kTile;
      scores[block] = reached ? shared.sums[warp][slot][0] : -INFINITY;
    }
  }
}

template <int D>
void LaunchFor(Context& context, ops::Stream stream, const SequenceScorePlan& plan) {
  const int tokens = kWarps * 16 / plan.group;
  const int first = static_cast<int>(plan.row0 / plan.tokens);
  const int last = static_cast<int>((plan.row0 + plan.chunk_rows - 1) / plan.tokens);
  const dim3 grid(static_cast<unsigned>((plan.tokens + tokens - 1) / tokens), static_cast<unsigned>(plan.kv_heads),
                  static_cast<unsigned>(last - first + 1));
  AllowShared(reinterpret_cast<const void*>(ScorePackets<D>), sizeof(Shared<D>));
  ScorePackets<D><<<grid, kThreads, sizeof(Shared<D>), context.stream(stream)>>>(plan, first);
  NOSA_CUDA_LAUNCHED();
}

}  // namespace

bool SequenceScoresOnTensorCores(Context& context, ops::Stream stream, const SequenceScorePlan& plan, DType dtype,
                                 int block_size) {
  if (!TensorCoresTakeSequences(plan.group, plan.dim, block_size, dtype) || plan.windows_per_block != kPerBlock)
    return false;
  plan.dim == 64 ? LaunchFor<64>(context, stream, plan) : LaunchFor<128>(context, stream, plan);
  return true;
}

}  // namespace nosa::cuda
