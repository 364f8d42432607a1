// Window scores of bf16 summaries on tensor cores: 16 (row, head) pairs, a row's heads side by side, times windows. A
// split's windows are taken in four parts; either each warp has pairs of its own and takes the parts one by one, or,
// for few rows, each warp takes a part for the same pairs. Products and sums have the same order in both, so that they
// give the same bits. As in window_scores.cu: first each split's greatest logit and sum, then the probabilities.
#include <algorithm>

#include "backend/cuda/mma.cuh"
#include "backend/cuda/window_scores.h"

namespace nosa::cuda {
namespace {

// bf16 terms that stand for a query. One turns a logit by 2^-9 of sum |q c| scale, two by 2^-17: scores decide which
// blocks are read.
constexpr int kQueryTerms = 2;

constexpr int kThreads = 128, kWarps = kThreads / kWarpSize;
constexpr int kParts = 4, kPart = kSplit / kParts;  // windows
constexpr int kPartTiles = kPart / ops::kWindowTile, kSplitTiles = kSplit / ops::kWindowTile;
constexpr int kMaxRows = kThreads;
static_assert(kWarps == kParts && ops::kWindowTile == 16);

template <int D>
struct Shared {
  static constexpr uint32_t kTileBytes = D * ops::kWindowTile * 2;
  alignas(1024) char keys[2][kSplitTiles * kTileBytes];
  ops::WindowScoresArgs::Row rows[kMaxRows];
  float max[16][kParts], sum[16][kParts];  // few rows: of the parts
};

// Keys lie as [tile][D][16 windows]: two pieces of 16 bytes a channel, which change places every four channels, so that
// eight channels of one piece are in different banks.
template <int D>
__device__ __forceinline__ void CopySplit(uint32_t to, const char* keys, int split, int windows) {
  constexpr int kTilePieces = D * 2;
  const int tiles = (windows - split * kSplit + ops::kWindowTile - 1) / ops::kWindowTile;
  const char* from = keys + static_cast<int64_t>(split) * kSplitTiles * Shared<D>::kTileBytes;
#pragma unroll 8
  for (int j = 0; j < kSplitTiles * kTilePieces / kThreads; ++j) {
    const int i = static_cast<int>(threadIdx.x) + j * kThreads;
    const bool valid = i / kTilePieces < tiles;
    CopyAsync16(to + static_cast<uint32_t>(i ^ (i >> 3 & 1)) * 16u, from + (valid ? i * 16 : 0), valid);
  }
}

// Operands A of 16 pairs, all channels.
template <int D>
struct Queries {
  uint32_t terms[D / 16][kQueryTerms][4];

  __device__ __forceinline__ void Load(const WindowPlan& plan, int row0, int rows, int kv_head, int first_pair) {
    const int group = plan.heads / plan.kv_heads, lane = static_cast<int>(threadIdx.x) % kWarpSize;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int pair = first_pair + lane / 4 + 8 * r, slot = pair / group, head = pair - slot * group;
      const bool valid = slot < rows;
      const float* q = plan.q + (row0 + (valid ? slot : 0)) * plan.q_stride +
                       (static_cast<int64_t>(kv_head) * group + head) * D + lane % 4 * 2;
#pragma unroll
      for (int step = 0; step < D / 16; ++step) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float a = valid ? q[step * 16 + half * 8] : 0.0f, b = valid ? q[step * 16 + half * 8 + 1] : 0.0f;
          uint32_t split[kQueryTerms];
          SplitBf16<kQueryTerms>(a, b, split);
#pragma unroll
          for (int t = 0; t < kQueryTerms; ++t) terms[step][t][2 * half + r] = split[t];
        }
      }
    }
  }
};

// Logits of kTiles x 16 pairs for a part of a split in shared memory.
template <int D, int kTiles>
__device__ __forceinline__ void Logits(const Queries<D> (&queries)[kTiles], uint32_t part, float scale,
                                       float (&s)[kTiles][2 * kPartTiles][4]) {
  const uint32_t lane = threadIdx.x % kWarpSize;
  const uint32_t first = part + (lane & 15u) * 32u + (((lane >> 4) ^ (lane >> 2 & 1u)) << 4);
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
#pragma unroll
    for (int n = 0; n < 2 * kPartTiles; ++n) s[i][n][0] = s[i][n][1] = s[i][n][2] = s[i][n][3] = 0;
  }
#pragma unroll
  for (int step = 0; step < D / 16; ++step) {
    uint32_t b[kPartTiles][4];
#pragma unroll
    for (int n = 0; n < kPartTiles; ++n) {
      LoadMatricesTransposed(
          b[n], first + static_cast<uint32_t>(n) * Shared<D>::kTileBytes + static_cast<uint32_t>(step) * 512u);
    }
#pragma unroll
    for (int t = 0; t < kQueryTerms; ++t) {
#pragma unroll
      for (int n = 0; n < kPartTiles; ++n) {
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
          MultiplyAdd(s[i][2 * n], queries[i].terms[step][t], b[n][0], b[n][1]);
          MultiplyAdd(s[i][2 * n + 1], queries[i].terms[step][t], b[n][2], b[n][3]);
        }
      }
    }
  }
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
#pragma unroll
    for (int n = 0; n < 2 * kPartTiles; ++n) {
#pragma unroll
      for (int c = 0; c < 4; ++c) s[i][n][c] = __fmul_rn(s[i][n][c], scale);
    }
  }
}

// Of one pair of 16, `r` of the lane's two: softmax of a part's windows [window, window + kPart) below `windows`.
__device__ __forceinline__ SplitSoftmax OfPart(const float (&s)[2 * kPartTiles][4], int r, int window, int windows) {
  const int first = window + static_cast<int>(threadIdx.x) % 4 * 2;
  float logits[2 * kPartTiles][2], max = -INFINITY;
#pragma unroll
  for (int n = 0; n < 2 * kPartTiles; ++n) {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      logits[n][c] = first + n * 8 + c < windows ? s[n][2 * r + c] : -INFINITY;
      max = fmaxf(max, logits[n][c]);
    }
  }
  max = MaxOfQuad(max);
  const float max_log2 = TimesLog2E(max);
  float sums[2 * kPartTiles];
#pragma unroll
  for (int n = 0; n < 2 * kPartTiles; ++n) {
    sums[n] = __fadd_rn(ExpBelow(logits[n][0], max_log2), ExpBelow(logits[n][1], max_log2));
  }
  static_assert(2 * kPartTiles == 4);
  const float sum = SumOfQuad(__fadd_rn(__fadd_rn(sums[0], sums[1]), __fadd_rn(sums[2], sums[3])));
  return {max, max == -INFINITY ? 0.0f : sum};
}

// Of a split, from its parts in order.
__device__ __forceinline__ SplitSoftmax OfSplit(const float (&max)[kParts], const float (&sum)[kParts]) {
  SplitSoftmax all = {fmaxf(fmaxf(max[0], max[1]), fmaxf(max[2], max[3])), 0};
  if (all.max == -INFINITY) return all;
  const float max_log2 = TimesLog2E(all.max);
#pragma unroll
  for (int i = 0; i < kParts; ++i) all.sum = __fmaf_rn(sum[i], ExpBelow(max[i], max_log2), all.sum);
  return all;
}

// Of all windows of a pair: max times log2(e), and 1 / sum. All four lanes of a row call it.
__device__ __forceinline__ SplitSoftmax OfAll(const SplitSoftmax* parts, int splits) {
  const int first = static_cast<int>(threadIdx.x) % 4;
  float max = -INFINITY, sum = 0;
#pragma unroll 4
  for (int s = first; s < splits; s += 4) max = fmaxf(max, parts[s].max);
  max = MaxOfQuad(max);
  const float max_log2 = TimesLog2E(max);
#pragma unroll 4
  for (int s = first; s < splits; s += 4) sum = __fmaf_rn(parts[s].sum, ExpBelow(parts[s].max, max_log2), sum);
  sum = SumOfQuad(sum);
  return {max_log2, __fdiv_rn(1.0f, sum)};
}

// Sums of a row's heads, which are the pairs of neighbouring lanes and, with 16 heads, also the lane's second: then
// only of_pair[0] has them. The order does not depend on which pairs they are. `of_pair[r]`: value of the lane's pair
// r.
__device__ __forceinline__ void AddHeads(float (&of_pair)[2], int group) {
  if (group == 16) {
    of_pair[0] = __fadd_rn(of_pair[0], of_pair[1]);
    for (int o = 4; o < kWarpSize; o *= 2) {
      of_pair[0] = __fadd_rn(of_pair[0], __shfl_xor_sync(kAllLanes, of_pair[0], o));
    }
    return;
  }
  for (int o = 4; o < 4 * group; o *= 2) {
    of_pair[0] = __fadd_rn(of_pair[0], __shfl_xor_sync(kAllLanes, of_pair[0], o));
    of_pair[1] = __fadd_rn(of_pair[1], __shfl_xor_sync(kAllLanes, of_pair[1], o));
  }
}

// Blocks (tile of rows and KV head, range of `range` splits). kFew: 16 pairs, a part a warp. kFinal: the second time,
// writes p; else the splits' softmax.
template <int D, int kTiles, bool kFew, bool kFinal>
__global__ void __launch_bounds__(kThreads) Scores(WindowPlan plan, int range) {
  constexpr int kPairs = kFew ? 16 : kWarps * kTiles * 16;
  static_assert(!kFew || kTiles == 1);
  extern __shared__ __align__(1024) char memory[];
  Shared<D>& shared = *reinterpret_cast<Shared<D>*>(memory);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarpSize, lane = thread % kWarpSize;
  const int group = plan.heads / plan.kv_heads, rows_of_tile = kPairs / group;
  const int kv_head = static_cast<int>(blockIdx.x % static_cast<unsigned>(plan.kv_heads));
  const int row0 = static_cast<int>(blockIdx.x / static_cast<unsigned>(plan.kv_heads)) * rows_of_tile;
  const int rows = min(rows_of_tile, plan.row_count - row0);
  const int first_split = static_cast<int>(blockIdx.y) * range;
  if (thread < rows) shared.rows[thread] = plan.rows[row0 + thread];
  __syncthreads();
  int most = 0;
  for (int i = 0; i < rows; ++i) most = max(most, shared.rows[i].windows);
  if (first_split * kSplit >= most) return;

  Queries<D> queries[kTiles];
  int slot[kTiles][2];
  SplitSoftmax all[kTiles][2];  // kFinal
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    const int first_pair = kFew ? 0 : (warp * kTiles + i) * 16;
    queries[i].Load(plan, row0, rows, kv_head, first_pair);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int pair = first_pair + lane / 4 + 8 * r;
      slot[i][r] = pair / group < rows ? pair / group : -1;
      if constexpr (kFinal) {
        const int windows = slot[i][r] < 0 ? 0 : shared.rows[slot[i][r]].windows;
        const int64_t head = static_cast<int64_t>(row0 + slot[i][r]) * plan.heads + kv_head * group + pair % group;
        all[i][r] = OfAll(plan.parts + (windows > 0 ? head * plan.splits : 0), (windows + kSplit - 1) / kSplit);
      }
    }
  }

  // Rows of one sequence together; all of the tile's in most calls.
  for (int begin = 0; begin < rows;) {
    const int state_begin = shared.rows[begin].state_begin;
    int end = begin;
    most = 0;
    for (; end < rows && shared.rows[end].state_begin == state_begin; ++end) {
      most = max(most, shared.rows[end].windows);
    }
    const int last_split = min(first_split + range, (most + kSplit - 1) / kSplit);
    const auto* keys = static_cast<const char*>(plan.states[state_begin + kv_head].keys);
    int windows[kTiles][2];  // 0: not a row of this sequence
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const bool ours = slot[i][r] >= begin && slot[i][r] < end;
        windows[i][r] = ours ? shared.rows[slot[i][r]].windows : 0;
      }
    }
    const auto start = [&](int split) {
      CopySplit<D>(SharedAddress(shared.keys[(split - first_split) % 2]), keys, split, most);
    };
    if (first_split < last_split) start(first_split);
    CommitCopies();
    for (int split = first_split; split < last_split; ++split) {
      if (split + 1 < last_split) start(split + 1);
      CommitCopies();
      WaitForCopies<1>();
      __syncthreads();  // the split's keys are there
      float maxima[kTiles][2][kParts], sums[kTiles][2][kParts];
#pragma unroll
      for (int part = 0; part < (kFew ? 1 : kParts); ++part) {
        const int which = kFew ? warp : part, window = split * kSplit + which * kPart;
        float s[kTiles][2 * kPartTiles][4];
        Logits<D>(queries,
                  SharedAddress(shared.keys[(split - first_split) % 2]) +
                      static_cast<uint32_t>(which * kPartTiles) * Shared<D>::kTileBytes,
                  plan.scale, s);
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
          if constexpr (!kFinal) {
#pragma unroll
            for (int r = 0; r < 2; ++r) {
              const SplitSoftmax softmax = OfPart(s[i], r, window, windows[i][r]);
              if constexpr (kFew) {
                if (lane % 4 == 0) {
                  shared.max[lane / 4 + 8 * r][which] = softmax.max;
                  shared.sum[lane / 4 + 8 * r][which] = softmax.sum;
                }
              } else {
                maxima[i][r][part] = softmax.max;
                sums[i][r][part] = softmax.sum;
              }
            }
          } else {
#pragma unroll
            for (int n = 0; n < 2 * kPartTiles; ++n) {
#pragma unroll
              for (int c = 0; c < 2; ++c) {
                const int w = window + n * 8 + lane % 4 * 2 + c;
                float of_pair[2];
#pragma unroll
                for (int r = 0; r < 2; ++r) {
                  of_pair[r] = __fmul_rn(ExpBelow(s[i][n][2 * r + c], all[i][r].max), all[i][r].sum);
                }
                AddHeads(of_pair, group);
#pragma unroll
                for (int r = 0; r < 2; ++r) {
                  const bool writes = lane / 4 % group == 0 && (r == 0 || group < 16);
                  if (!writes || w >= windows[i][r]) continue;
                  plan.p[(row0 + slot[i][r]) * plan.p_stride + static_cast<int64_t>(kv_head) * plan.width + w] =
                      of_pair[r];
                }
              }
            }
          }
        }
      }
      if constexpr (!kFinal) {
        const auto keep = [&](int pair, const SplitSoftmax& softmax) {
          const int64_t head = static_cast<int64_t>(row0 + pair / group) * plan.heads + kv_head * group + pair % group;
          plan.parts[head * plan.splits + split] = softmax;
        };
        if constexpr (kFew) {
          __syncthreads();
          const int pair = thread;
          if (pair < 16 && pair / group >= begin && pair / group < end) {
            keep(pair, OfSplit(shared.max[pair], shared.sum[pair]));
          }
        } else if (lane % 4 == 0) {
#pragma unroll
          for (int i = 0; i < kTiles; ++i) {
#pragma unroll
            for (int r = 0; r < 2; ++r) {
              if (windows[i][r] > 0) {
                keep((warp * kTiles + i) * 16 + lane / 4 + 8 * r, OfSplit(maxima[i][r], sums[i][r]));
              }
            }
          }
        }
      }
      __syncthreads();  // the split is read: its memory takes the one after the next
    }
    begin = end;
  }
}

template <int D, int kTiles, bool kFew>
void Launch(Context& context, ops::Stream stream, const WindowPlan& plan) {
  const int rows_of_tile = (kFew ? 16 : kWarps * kTiles * 16) / (plan.heads / plan.kv_heads);
  const int64_t tiles = CeilDiv(plan.row_count, rows_of_tile) * plan.kv_heads;
  // Some blocks a multiprocessor are enough; a block with more splits loads its queries once for all.
  const int64_t wanted = CeilDiv(int64_t{8} * context.multiprocessors(), tiles);
  const int range = static_cast<int>(std::max<int64_t>(1, plan.splits / wanted));
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(CeilDiv(plan.splits, range)));
  const auto launch = [&](auto* kernel) {
    NOSA_CUDA_CHECK(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(sizeof(Shared<D>))));
    kernel<<<grid, kThreads, sizeof(Shared<D>), context.stream(stream)>>>(plan, range);
    NOSA_CUDA_LAUNCHED();
  };
  launch(Scores<D, kTiles, kFew, false>);
  launch(Scores<D, kTiles, kFew, true>);
}

template <int D>
void LaunchFor(Context& context, ops::Stream stream, const WindowPlan& plan) {
  // Which is a matter of time alone.
  const int64_t pairs = CeilDiv(plan.row_count, plan.sequences) * (plan.heads / plan.kv_heads);
  if (pairs <= 16) {
    Launch<D, 1, true>(context, stream, plan);
  } else if (pairs <= kWarps * 16) {
    Launch<D, 1, false>(context, stream, plan);
  } else {
    Launch<D, 2, false>(context, stream, plan);
  }
}

}  // namespace

bool WindowScoresOnTensorCores(Context& context, ops::Stream stream, const WindowPlan& plan, DType summary_dtype) {
  const int group = plan.heads / plan.kv_heads;
  if (summary_dtype != DType::kBF16 || group > 16 || (group & (group - 1)) != 0) return false;
  if (plan.dim == 64) {
    LaunchFor<64>(context, stream, plan);
  } else if (plan.dim == 128) {
    LaunchFor<128>(context, stream, plan);
  } else {
    return false;
  }
  return true;
}

}  // namespace nosa::cuda
