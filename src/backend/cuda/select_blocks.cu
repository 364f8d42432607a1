// Three kernels: the logits of every query head with every window; from them the scores of the blocks, as keys that order
// like the scores; and one CTA per lane that selects. In between lie [lanes, g, windows] f32 logits, the softmax
// statistics of each piece of windows, and [lanes, 2, blocks] keys by Q and by E.
#include "ops/select_blocks.h"

#include <algorithm>

#include "backend/cuda/block_mask.cuh"
#include "backend/cuda/context.h"
#include "backend/cuda/mma.cuh"

namespace nosa::cuda {
namespace {

// Windows of one warp: the unit of the statistics.
constexpr int kPiece = 64;
constexpr int kTiles = kPiece / ops::kWindowTile;
constexpr int kWarps = 4, kLogitThreads = kWarps * kWarpSize;
constexpr int kSelectThreads = 256;
constexpr int kMostGroup = 16;

struct Params {
  const float* q;
  int64_t q_stride;
  const int32_t* positions;
  const ops::WindowState* states;
  ops::SelectionRule rule;
  ops::StepSelection selection;
  int kv_heads, group, dim;
  int block_size, kernel_size, kernel_stride;
  float scale;
  // Per lane: windows and pieces that there is room for.
  int most_windows = 0, most_pieces = 0;
  float* logits = nullptr;   // [lanes, group, most_windows]
  float2* pieces = nullptr;  // [lanes, most_pieces, group]: maximum, sum of exp(logit - maximum)
  uint32_t* keys = nullptr;  // [lanes, 2, max_blocks]
  int max_blocks = 0;

  __device__ int WindowsAt(int32_t pos) const {
    return pos + 1 < kernel_size ? 0 : (pos + 1 - kernel_size) / kernel_stride + 1;
  }
};

// Softmax statistics of a piece, over the lanes that hold its windows; `store` on one lane per head.
__device__ void StorePiece(const Params& p, int lane, int piece, int head, float max, float sum) {
  p.pieces[(static_cast<int64_t>(lane) * p.most_pieces + piece) * p.group + head] = make_float2(max, sum);
}

// Any type and shape: a lane of the warp takes windows lane and lane + 32 of the piece.
template <typename T>
__global__ void __launch_bounds__(kLogitThreads) PlainLogits(const Params p) {
  const int lane = static_cast<int>(blockIdx.y), seat = lane / p.kv_heads, g = lane % p.kv_heads;
  const int32_t pos = p.positions[seat];
  const int windows = pos < 0 ? 0 : p.WindowsAt(pos);
  const int piece = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarpSize;
  const int self = static_cast<int>(threadIdx.x) % kWarpSize;
  if (piece * kPiece >= windows) return;
  const T* keys = static_cast<const T*>(p.states[lane].keys);
  for (int h = 0; h < p.group; ++h) {
    const float* q = p.q + seat * p.q_stride + static_cast<int64_t>(g * p.group + h) * p.dim;
    float logit[2] = {-INFINITY, -INFINITY};
    for (int i = 0; i < 2; ++i) {
      const int w = piece * kPiece + i * kWarpSize + self;
      if (w >= windows) continue;
      const T* key = keys + static_cast<int64_t>(w / ops::kWindowTile) * p.dim * ops::kWindowTile + w % ops::kWindowTile;
      float sum = 0;
      for (int d = 0; d < p.dim; ++d) sum += q[d] * ToFloat(key[static_cast<int64_t>(d) * ops::kWindowTile]);
      logit[i] = sum * p.scale;
      p.logits[(static_cast<int64_t>(lane) * p.group + h) * p.most_windows + w] = logit[i];
    }
    const float max = WarpMax(fmaxf(logit[0], logit[1]));
    const float sum = WarpSum(expf(logit[0] - max) + expf(logit[1] - max));
    if (self == 0) StorePiece(p, lane, piece, h, max, sum);
  }
}

// bf16 summaries, head size Dim, groups of up to 16: keys are the rows of the product (16 windows of a tile), heads its
// columns. A warp takes every so many pieces of its lane, and has a piece's worth of keys on their way all the time: where
// a tile has been used, the same tile of its next piece is fetched.
template <int Dim>
__global__ void __launch_bounds__(kLogitThreads) MmaLogits(const Params p) {
  extern __shared__ __align__(16) uint16_t shared[];
  const int lane = static_cast<int>(blockIdx.y), seat = lane / p.kv_heads, g = lane % p.kv_heads;
  const uint16_t* all_keys = static_cast<const uint16_t*>(p.states[lane].keys);
  const int32_t pos = p.positions[seat];
  const int windows = pos < 0 ? 0 : p.WindowsAt(pos);
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, self = static_cast<int>(threadIdx.x) % kWarpSize;
  const int pieces = (windows + kPiece - 1) / kPiece, stride = static_cast<int>(gridDim.x) * kWarps;
  const int first_piece = static_cast<int>(blockIdx.x) * kWarps + warp;
  if (first_piece >= pieces) return;
  const int quad = self % 4, group = self / 4;

  constexpr int kTileNumbers = Dim * ops::kWindowTile;
  uint16_t* own = shared + warp * kTiles * kTileNumbers;
  // One group of copies, empty where there is no such tile.
  const auto fetch = [&](int piece, int tile) {
    if (piece * kPiece + tile * ops::kWindowTile < windows) {
      const uint16_t* from = all_keys + (static_cast<int64_t>(piece) * kTiles + tile) * kTileNumbers;
#pragma unroll
      for (int i = 0; i < kTileNumbers / 8 / kWarpSize; ++i) {
        const int at = (i * kWarpSize + self) * 8;
        CopyAsync16(SharedAddress(own + tile * kTileNumbers + at), from + at, true);
      }
    }
    CommitCopies();
  };
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) fetch(first_piece, tile);

  // Columns n of the product are heads; two tiles of 8. The query as two bf16 terms.
  uint32_t q[2][Dim / 16][2], rest[2][Dim / 16][2];
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    const int h = n * 8 + group;
    const float* head = p.q + seat * p.q_stride + static_cast<int64_t>(g * p.group + h) * Dim;
#pragma unroll
    for (int step = 0; step < Dim / 16; ++step) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float2 x = make_float2(0, 0);
        if (h < p.group) x = *reinterpret_cast<const float2*>(head + step * 16 + half * 8 + quad * 2);
        uint32_t terms[2];
        SplitBf16(x.x, x.y, terms);
        q[n][step][half] = terms[0];
        rest[n][step][half] = terms[1];
      }
    }
  }

  for (int piece = first_piece; piece < pieces; piece += stride) {
    float d[kTiles][2][4];
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      WaitForCopies<kTiles - 1>();  // this tile's group is the oldest of four
      __syncwarp();
      float high[2][4] = {}, low[2][4] = {};  // by term: chains half as long
#pragma unroll
      for (int step = 0; step < Dim / 16; ++step) {
        // A [16 windows, 16 channels] lies transposed: matrices (channels 0-7, windows 0-7), (0-7, 8-15), (8-15, 0-7),
        // (8-15, 8-15).
        const int matrix = self / 8, channel = step * 16 + (matrix / 2) * 8 + self % 8;
        uint32_t a[4];
        LoadMatricesTransposed(
            a, SharedAddress(own + tile * kTileNumbers + channel * ops::kWindowTile + (matrix % 2) * 8));
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          if (n * 8 >= p.group) break;
          MultiplyAdd(high[n], a, q[n][step][0], q[n][step][1]);
          MultiplyAdd(low[n], a, rest[n][step][0], rest[n][step][1]);
        }
      }
      __syncwarp();  // the tile has been read by all
      fetch(piece + stride, tile);
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int w = piece * kPiece + tile * ops::kWindowTile + group + (i / 2) * 8, h = n * 8 + quad * 2 + i % 2;
          const bool there = w < windows && h < p.group;
          d[tile][n][i] = there ? (high[n][i] + low[n][i]) * p.scale : -INFINITY;
          if (there) p.logits[(static_cast<int64_t>(lane) * p.group + h) * p.most_windows + w] = d[tile][n][i];
        }
      }
    }
    // Over this lane's windows, then over the eight groups of lanes that hold the same heads.
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      if (n * 8 >= p.group) break;
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float m = -INFINITY;
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) m = fmaxf(m, fmaxf(d[tile][n][c], d[tile][n][c + 2]));
#pragma unroll
        for (int other = 4; other < kWarpSize; other *= 2) m = fmaxf(m, __shfl_xor_sync(kAllLanes, m, other));
        float l = 0;
        if (m != -INFINITY) {
#pragma unroll
          for (int tile = 0; tile < kTiles; ++tile) l += __expf(d[tile][n][c] - m) + __expf(d[tile][n][c + 2] - m);
        }
#pragma unroll
        for (int other = 4; other < kWarpSize; other *= 2) l += __shfl_xor_sync(kAllLanes, l, other);
        const int h = n * 8 + quad * 2 + c;
        if (group == 0 && h < p.group) StorePiece(p, lane, piece, h, m, l);
      }
    }
  }
}

// Adds to `mask` the blocks of largest key that are not in it, until it has `members`; ties go to the lower block.
// keys[i]: of block threadIdx.x + i * blockDim.x, 0 beyond the last. mask and equal are in shared memory; `present` is how
// many are in the mask. Ends synchronised.
template <int kPerThread>
__device__ void FillMask(uint32_t (&keys)[kPerThread], int blocks, int members, int present, uint32_t* mask,
                         uint32_t* equal) {
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int words = (blocks + 31) / 32;
  if (members >= blocks) {
    for (int w = thread; w < words; w += threads) {
      mask[w] = w < blocks / 32 ? 0xffffffffu : (1u << (blocks % 32)) - 1;
    }
    __syncthreads();
    return;
  }
  if (members <= present) return;
  // Members do not compete: 0 is below every key of a number.
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int b = thread + i * threads;
    if (b < blocks && (mask[b / 32] >> (b % 32) & 1) != 0) keys[i] = 0;
  }
  // The largest key that as many as are wanted reach, two bits at a time: the key of the last one that joins. Once a
  // threshold is reached by just as many, the lower bits do not matter. Counts rotate through three places, so that one
  // barrier a turn is enough.
  __shared__ int counts[3][3];
  if (thread < 9) counts[thread / 3][thread % 3] = 0;
  __syncthreads();
  const int wanted = members - present;
  uint32_t last = 0;
  int above = 0;       // keys greater than those that agree with `last` so far
  bool exact = false;  // as many as are wanted reach `last`
  for (int turn = 0; turn < 16 && !exact; ++turn) {
    const uint32_t step = 1u << (30 - 2 * turn);
    int n[3] = {};
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
#pragma unroll
      for (int j = 0; j < 3; ++j) n[j] += keys[i] >= last + static_cast<uint32_t>(j + 1) * step ? 1 : 0;
    }
#pragma unroll
    for (int j = 0; j < 3; ++j) {
      n[j] = __reduce_add_sync(kAllLanes, n[j]);
      if (thread % kWarpSize == j && n[j] > 0) atomicAdd(&counts[turn % 3][j], n[j]);
    }
    if (thread < 3) counts[(turn + 1) % 3][thread] = 0;  // for the next turn; all have read it before the last barrier
    __syncthreads();
    int reached = 0, reach = 0;
#pragma unroll
    for (int j = 0; j < 3; ++j) {
      const int count = counts[turn % 3][j];
      if (count < wanted) continue;
      ++reached;
      reach = count;  // counts fall: that of the largest threshold stays
    }
    if (reached < 3) above = counts[turn % 3][reached];
    last += static_cast<uint32_t>(reached) * step;
    exact = reached > 0 && reach == wanted;
  }
  // A warp's blocks of one i are the bits of one word.
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const uint32_t joins = __ballot_sync(kAllLanes, exact ? keys[i] >= last : keys[i] > last);
    const bool there = thread + i * threads < blocks;
    const uint32_t ties = __ballot_sync(kAllLanes, there && !exact && keys[i] == last);
    const int w = (thread + i * threads) / 32;
    if (thread % kWarpSize == 0 && w < words) {
      mask[w] |= joins;
      equal[w] = ties;
    }
  }
  __syncthreads();
  if (exact) return;
  // Of those that tie with the last one, the lowest.
  if (thread < kWarpSize) {
    int left = wanted - above;
    for (int first = 0; first < words; first += kWarpSize) {
      const int w = first + thread, n = w < words ? __popc(equal[w]) : 0;
      int before = n;
#pragma unroll
      for (int step = 1; step < kWarpSize; step *= 2) {
        const int from = __shfl_up_sync(kAllLanes, before, step);
        if (thread >= step) before += from;
      }
      const int all = __shfl_sync(kAllLanes, before, kWarpSize - 1);
      int take = min(n, max(0, left - (before - n)));
      for (uint32_t bits = w < words ? equal[w] : 0; take > 0; --take, bits &= bits - 1) mask[w] |= bits & (0u - bits);
      left -= min(left, all);
    }
  }
  __syncthreads();
}

__device__ int CountMembers(const uint32_t* mask, int words) {
  int n = 0;
  for (int w = static_cast<int>(threadIdx.x); w < words; w += static_cast<int>(blockDim.x)) n += __popc(mask[w]);
  return BlockSum(n);
}

// Blocks and threads of a CTA of BlockKeys: a thread per window where blocks have four.
constexpr int kKeyBlocks = 128, kKeyThreads = 512;

// CTA (i, lane): the keys of kKeyBlocks blocks. Shared memory: scores of their windows, and of the one before.
__global__ void __launch_bounds__(kKeyThreads) BlockKeys(const Params p, bool by_query, bool by_importance) {
  extern __shared__ float scores[];
  __shared__ float head_max[kMostGroup], head_scale[kMostGroup];
  const int lane = static_cast<int>(blockIdx.y), thread = static_cast<int>(threadIdx.x);
  const int32_t pos = p.positions[lane / p.kv_heads];
  const int first = static_cast<int>(blockIdx.x) * kKeyBlocks, blocks = pos < 0 ? 0 : pos / p.block_size + 1;
  if (first >= blocks) return;
  const int end = min(first + kKeyBlocks, blocks);
  const int windows = p.WindowsAt(pos), per_block = p.block_size / p.kernel_stride;
  const int first_window = max(0, first * per_block - 1), end_window = min(end * per_block, windows);
  uint32_t* keys = p.keys + static_cast<int64_t>(lane) * 2 * p.max_blocks;
  const auto largest = [&](const float* values, int b) {  // values[0] is that of first_window
    float best = -INFINITY;
    for (int w = max(0, b * per_block - 1); w < min((b + 1) * per_block, windows); ++w) {
      best = fmaxf(best, values[w - first_window]);
    }
    return OrderedKey(best);
  };
  if (by_query) {
    const int warp = thread / kWarpSize, self = thread % kWarpSize;
    const int pieces = (windows + kPiece - 1) / kPiece;
    for (int h = warp; h < p.group; h += kKeyThreads / kWarpSize) {
      float max = -INFINITY, sum = 0;
      for (int i = self; i < pieces; i += kWarpSize) {
        const float2 piece = p.pieces[(static_cast<int64_t>(lane) * p.most_pieces + i) * p.group + h];
        const float now = fmaxf(max, piece.x);
        sum = sum * expf(max - now) + piece.y * expf(piece.x - now);
        max = now;
      }
      const float all = WarpMax(max);
      sum = WarpSum(max == -INFINITY ? 0.0f : sum * expf(max - all));
      if (self == 0) {
        head_max[h] = all;
        head_scale[h] = 1.0f / sum;
      }
    }
    __syncthreads();
    const float* logits = p.logits + static_cast<int64_t>(lane) * p.group * p.most_windows;
    for (int w = first_window + thread; w < end_window; w += kKeyThreads) {
      float score = 0;
      // Several heads' logits are loaded side by side.
#pragma unroll 16
      for (int h = 0; h < p.group; ++h) {
        score += __expf(logits[static_cast<int64_t>(h) * p.most_windows + w] - head_max[h]) * head_scale[h];
      }
      scores[w - first_window] = score;
    }
    __syncthreads();
    for (int b = first + thread; b < end; b += kKeyThreads) keys[b] = largest(scores, b);
  }
  if (by_importance) {
    const float* sigma = p.states[lane].sigma + first_window;
    for (int b = first + thread; b < end; b += kKeyThreads) keys[p.max_blocks + b] = largest(sigma, b);
  }
}

// One CTA per lane, for up to kPerThread * kSelectThreads blocks. Shared memory: mask, ties, prefix [words + 1].
template <int kPerThread>
__global__ void __launch_bounds__(kSelectThreads) SelectBlocks(const Params p) {
  extern __shared__ uint32_t select_shared[];
  const int most_words = (p.max_blocks + 31) / 32;
  uint32_t *mask = select_shared, *equal = mask + most_words;
  int32_t* prefix = reinterpret_cast<int32_t*>(equal + most_words);
  const int lane = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const int32_t pos = p.positions[lane / p.kv_heads];
  if (pos < 0) {
    if (thread == 0) p.selection.counts[lane] = 0;
    return;
  }
  const int own = pos / p.block_size, blocks = own + 1, words = (blocks + 31) / 32;
  const uint32_t* from = p.keys + static_cast<int64_t>(lane) * 2 * p.max_blocks;
  const int stages[2] = {p.rule.query_blocks, p.rule.topk};
  uint32_t keys[2][kPerThread];
#pragma unroll
  for (int stage = 0; stage < 2; ++stage) {
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int b = thread + i * kSelectThreads;
      keys[stage][i] = stages[stage] > 0 && b < blocks ? from[stage * p.max_blocks + b] : 0;
    }
  }
  for (int w = thread; w < words; w += kSelectThreads) mask[w] = 0;
  __syncthreads();
  const int forced = p.rule.init_blocks + p.rule.local_blocks + 1;
  for (int i = thread; i < forced; i += kSelectThreads) {
    const int b = i < p.rule.init_blocks ? i : own - (i - p.rule.init_blocks);
    if (b >= 0 && b < blocks) atomicOr(mask + b / 32, 1u << (b % 32));
  }
  __syncthreads();
#pragma unroll
  for (int stage = 0; stage < 2; ++stage) {
    if (stages[stage] == 0) continue;
    const int present = CountMembers(mask, words);
    __syncthreads();
    FillMask(keys[stage], blocks, stages[stage], present, mask, equal);
  }
  const int count = EmitMembers(mask, words, prefix,
                                p.selection.ids + static_cast<int64_t>(lane) * p.selection.width, p.selection.width);
  if (thread == 0) p.selection.counts[lane] = count;
}

// All of them.
__global__ void SelectEvery(const Params p) {
  const int lane = static_cast<int>(blockIdx.y);
  const int32_t pos = p.positions[lane / p.kv_heads];
  const int blocks = pos < 0 ? 0 : pos / p.block_size + 1;
  const int b = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (b == 0) p.selection.counts[lane] = blocks;
  if (b < blocks) p.selection.ids[static_cast<int64_t>(lane) * p.selection.width + b] = b;
}

}  // namespace

void select_blocks(ops::Backend& backend, ops::Stream stream, const ops::SelectBlocksArgs& args) {
  const int lanes = static_cast<int>(args.positions.size()) * args.kv_heads;
  if (lanes == 0) return;
  Context& context = ContextOf(backend);
  const cudaStream_t queue = context.stream(stream);
  Params p = {.q = args.q.row<float>(0),
              .q_stride = args.q.row_stride(),
              .positions = context.Stage(args.positions, stream),
              .states = context.Stage(args.states, stream),
              .rule = args.rule,
              .selection = args.selection,
              .kv_heads = args.kv_heads,
              .group = static_cast<int>(args.q.dim(1)) / args.kv_heads,
              .dim = static_cast<int>(args.q.dim(2)),
              .block_size = args.block_size,
              .kernel_size = args.kernel_size,
              .kernel_stride = args.kernel_stride,
              .scale = args.scale};
  NOSA_CHECK(p.group <= kMostGroup, "select_blocks: groups of {} heads", p.group);
  const bool by_query = args.rule.query_blocks > 0 && !args.rule.every_block;
  const bool by_importance = args.rule.topk > 0 && !args.rule.every_block;
  const size_t rows = static_cast<size_t>(lanes);
  p.max_blocks = args.max_blocks;
  if (by_query) {
    const int windows = args.max_blocks * args.block_size / args.kernel_stride;
    p.most_pieces = (windows + kPiece - 1) / kPiece;
    p.most_windows = p.most_pieces * kPiece;
  }
  if (by_query || by_importance) {
    const size_t logits = rows * static_cast<size_t>(p.most_windows * p.group) * sizeof(float);
    const size_t pieces = rows * static_cast<size_t>(p.most_pieces * p.group) * sizeof(float2);
    const size_t keys = rows * 2 * static_cast<size_t>(p.max_blocks) * sizeof(uint32_t);
    std::byte* scratch = static_cast<std::byte*>(context.Scratch(logits + pieces + keys, stream));
    p.logits = reinterpret_cast<float*>(scratch);
    p.pieces = reinterpret_cast<float2*>(scratch + logits);
    p.keys = reinterpret_cast<uint32_t*>(scratch + logits + pieces);
  }
  if (by_query) {
    const dim3 grid(GridFor(p.most_pieces, kWarps), static_cast<unsigned>(lanes));
    const bool aligned = p.q_stride % 2 == 0 && reinterpret_cast<uintptr_t>(p.q) % 8 == 0;
    const auto mma = [&]<int Dim>() {
      constexpr size_t kShared = size_t{kWarps} * kPiece * Dim * 2;
      AllowShared(reinterpret_cast<const void*>(&MmaLogits<Dim>), kShared);
      // As many CTAs as there is room for at once; each goes through its pieces.
      constexpr unsigned kCtas = 3;
      const unsigned room = std::max(1u, kCtas * static_cast<unsigned>(context.multiprocessors()) / grid.y);
      MmaLogits<Dim><<<dim3(std::min(grid.x, room), grid.y), kLogitThreads, kShared, queue>>>(p);
    };
    if (args.summary_dtype == DType::kBF16 && p.group <= kMostGroup && aligned && p.dim == 128) {
      mma.template operator()<128>();
    } else if (args.summary_dtype == DType::kBF16 && p.group <= kMostGroup && aligned && p.dim == 64) {
      mma.template operator()<64>();
    } else {
      DispatchFloat(args.summary_dtype, [&]<typename T>() { PlainLogits<T><<<grid, kLogitThreads, 0, queue>>>(p); });
    }
    NOSA_CUDA_LAUNCHED();
  }
  if (by_query || by_importance) {
    const dim3 grid(GridFor(args.max_blocks, kKeyBlocks), static_cast<unsigned>(lanes));
    const size_t scores = static_cast<size_t>(kKeyBlocks * args.block_size / args.kernel_stride + 1) * sizeof(float);
    AllowShared(reinterpret_cast<const void*>(&BlockKeys), scores);
    BlockKeys<<<grid, kKeyThreads, scores, queue>>>(p, by_query, by_importance);
    NOSA_CUDA_LAUNCHED();
  }
  if (args.rule.every_block) {
    SelectEvery<<<dim3(GridFor(args.max_blocks, kSelectThreads), static_cast<unsigned>(lanes)), kSelectThreads, 0,
                  queue>>>(p);
    NOSA_CUDA_LAUNCHED();
    return;
  }
  const size_t words = static_cast<size_t>(args.max_blocks + 31) / 32;
  const size_t shared = (3 * words + 1) * sizeof(uint32_t);
  const auto select = [&]<int kPerThread>() {
    SelectBlocks<kPerThread><<<static_cast<unsigned>(lanes), kSelectThreads, shared, queue>>>(p);
  };
  constexpr int kMostPerThread = 64;
  NOSA_CHECK(args.max_blocks <= kMostPerThread * kSelectThreads, "select_blocks: {} blocks, {} can be chosen from",
             args.max_blocks, kMostPerThread * kSelectThreads);
  if (args.max_blocks <= 2 * kSelectThreads) {
    select.operator()<2>();
  } else if (args.max_blocks <= 8 * kSelectThreads) {
    select.operator()<8>();
  } else {
    select.operator()<kMostPerThread>();
  }
  NOSA_CUDA_LAUNCHED();
}

}  // namespace nosa::cuda
