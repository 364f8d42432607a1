#include "ops/seat_attention.h"

#include <algorithm>

#include "backend/cuda/context.h"
#include "backend/cuda/mma.cuh"

namespace nosa::cuda {
namespace {

using Part = ops::SeatAttentionArgs::Part;

struct Params {
  const float* q;
  int64_t q_stride;
  const int32_t* positions;
  ops::StepSelection selection;
  const std::byte* const* addresses;
  const uint8_t* late;
  Part part;
  ops::BlockFrame frame;
  bool bias;
  float scale;
  int kv_heads, group, splits;
  ops::PartialStates states;
};

// What a CTA works on: split `blockIdx.x` of lane `blockIdx.y`. What it has to know is loaded side by side, before any of
// it is looked at: every dependent load costs as much as computing on a block.
struct Work {
  int lane, seat, kv_head, state, blocks;
  int32_t pos;
  int first;  // of the lane's selection
  bool wanted;

  __device__ explicit Work(const Params& p)
      : lane(static_cast<int>(blockIdx.y)),
        seat(lane / p.kv_heads),
        kv_head(lane % p.kv_heads),
        state(lane * p.splits + static_cast<int>(blockIdx.x)),
        pos(p.positions[seat]),
        first(static_cast<int>(blockIdx.x) * ops::kSplitBlocks) {
    const int selected = p.selection.counts[lane];
    const uint8_t late = p.part == Part::kAll ? uint8_t{0} : p.late[state];
    wanted = p.part == Part::kAll || (late != 0) == (p.part == Part::kLate);
    blocks = max(0, min(ops::kSplitBlocks, (pos < 0 ? 0 : selected) - first));
  }
  __device__ int64_t At(const Params& p, int i) const {
    return static_cast<int64_t>(lane) * p.selection.width + first + i;
  }
  __device__ int Tokens(const Params& p, int i) const {
    return min(p.frame.block_size, pos + 1 - p.selection.ids[At(p, i)] * p.frame.block_size);
  }
};

__device__ void StoreEmpty(const Params& p, const Work& work) {
  for (int h = static_cast<int>(threadIdx.x); h < p.group; h += static_cast<int>(blockDim.x)) {
    p.states.m[work.state * p.group + h] = -INFINITY;
    p.states.l[work.state * p.group + h] = 0;
  }
  const int64_t numbers = static_cast<int64_t>(p.group) * p.states.v_dim;
  for (int64_t i = threadIdx.x; i < numbers; i += blockDim.x) p.states.acc[work.state * numbers + i] = 0;
}

constexpr int kPlainThreads = 128;

// Any type and shape, one head after another. Shared memory: the weights of a block's tokens [B], the sums [Dv].
template <typename T>
__global__ void __launch_bounds__(kPlainThreads) PlainAttention(const Params p) {
  extern __shared__ float plain_shared[];
  const Work work(p);
  if (!work.wanted) return;
  if (work.blocks == 0) return StoreEmpty(p, work);
  float *weights = plain_shared, *acc = weights + p.frame.block_size;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarpSize, self = thread % kWarpSize;
  for (int h = 0; h < p.group; ++h) {
    const float* q = p.q + work.seat * p.q_stride + static_cast<int64_t>(work.kv_head * p.group + h) * p.frame.k_dim;
    float m = -INFINITY, l = 0;
    for (int d = thread; d < p.frame.v_dim; d += kPlainThreads) acc[d] = 0;
    for (int i = 0; i < work.blocks; ++i) {
      const std::byte* block = p.addresses[work.At(p, i)];
      const T* k = reinterpret_cast<const T*>(block);
      const T* v = reinterpret_cast<const T*>(block + p.frame.v_offset);
      const float* s = reinterpret_cast<const float*>(block + p.frame.s_offset);
      const int tokens = work.Tokens(p, i);
      __syncthreads();
      for (int j = warp; j < tokens; j += kPlainThreads / kWarpSize) {
        float dot = 0;
        for (int d = self; d < p.frame.k_dim; d += kWarpSize) {
          dot += q[d] * ToFloat(k[static_cast<int64_t>(j) * p.frame.k_dim + d]);
        }
        dot = WarpSum(dot);
        if (self == 0) weights[j] = dot * p.scale + (p.bias ? s[j] : 0.0f);
      }
      __syncthreads();
      float max = -INFINITY;
      for (int j = thread; j < tokens; j += kPlainThreads) max = fmaxf(max, weights[j]);
      max = fmaxf(m, BlockMax(max));
      float sum = 0;
      for (int j = thread; j < tokens; j += kPlainThreads) sum += weights[j] = expf(weights[j] - max);
      sum = BlockSum(sum);
      const float before = expf(m - max);
      l = l * before + sum;
      m = max;
      for (int d = thread; d < p.frame.v_dim; d += kPlainThreads) {
        float total = acc[d] * before;
        for (int j = 0; j < tokens; ++j) {
          total += weights[j] * ToFloat(v[static_cast<int64_t>(j) * p.frame.v_dim + d]);
        }
        acc[d] = total;
      }
    }
    const int64_t at = static_cast<int64_t>(work.state) * p.group + h;
    for (int d = thread; d < p.frame.v_dim; d += kPlainThreads) p.states.acc[at * p.frame.v_dim + d] = acc[d];
    if (thread == 0) {
      p.states.m[at] = m;
      p.states.l[at] = l;
    }
  }
}

// bf16 caches, head sizes Dim for keys and values, groups of up to 16. Heads are the rows of both products. One warp per
// block of the split, 16 tokens at a time, kStages of them on their way; the warps' results are merged in the order of
// the blocks. What bounds it is how many bytes are on their way, so it is kept small enough for three CTAs on a
// multiprocessor: the query, which all warps share, lies in shared memory as fragments. It has two bf16 terms, which make
// the logits as good as f32; the weights have one.
constexpr int kWarps = ops::kSplitBlocks, kMmaThreads = kWarps * kWarpSize, kChunk = 16, kStages = 2, kCtas = 3;

template <int Dim>
struct Stage {
  uint16_t k[kChunk * Dim], v[kChunk * Dim];
};

// Rows of Dim numbers in 16-byte units, places swapped so that eight rows' same unit lie in different banks.
template <int Dim>
__device__ int Place(int row, int unit) {
  return row * Dim + ((unit ^ (row & 7)) * 8);
}

template <int Dim>
__device__ void Fetch(Stage<Dim>* stage, const std::byte* block, size_t v_offset, int first, int tokens, int self) {
  constexpr int kUnits = Dim / 8;
  const uint16_t* k = reinterpret_cast<const uint16_t*>(block) + first * Dim;
  const uint16_t* v = reinterpret_cast<const uint16_t*>(block + v_offset) + first * Dim;
#pragma unroll
  for (int i = 0; i < kChunk * kUnits / kWarpSize; ++i) {
    const int at = i * kWarpSize + self, row = at / kUnits, unit = at % kUnits;
    CopyAsync16(SharedAddress(stage->k + Place<Dim>(row, unit)), k + at * 8, first + row < tokens);
  }
#pragma unroll
  for (int i = 0; i < kChunk * kUnits / kWarpSize; ++i) {
    const int at = i * kWarpSize + self, row = at / kUnits, unit = at % kUnits;
    CopyAsync16(SharedAddress(stage->v + Place<Dim>(row, unit)), v + at * 8, first + row < tokens);
  }
}

template <int Dim>
__global__ void __launch_bounds__(kMmaThreads, kCtas) MmaAttention(const Params p) {
  extern __shared__ __align__(128) unsigned char mma_shared[];
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, self = static_cast<int>(threadIdx.x) % kWarpSize;
  const int group = self / 4, quad = self % 4;
  const int64_t mine = min(static_cast<int64_t>(blockIdx.y) * p.selection.width + blockIdx.x * ops::kSplitBlocks + warp,
                           static_cast<int64_t>(gridDim.y) * p.selection.width - 1);
  const std::byte* block = p.addresses[mine];
  const int32_t id = p.selection.ids[mine];
  const Work work(p);
  if (!work.wanted) return;
  if (work.blocks == 0) return StoreEmpty(p, work);
  Stage<Dim>* stages = reinterpret_cast<Stage<Dim>*>(mma_shared) + warp * kStages;
  uint4* fragments = reinterpret_cast<uint4*>(mma_shared + sizeof(Stage<Dim>) * kWarps * kStages);

  float m[2] = {-INFINITY, -INFINITY}, l[2] = {0, 0};  // heads `group` and group + 8
  float out[Dim / 8][4] = {};
  const bool busy = warp < work.blocks;
  const int tokens = busy ? min(p.frame.block_size, work.pos + 1 - id * p.frame.block_size) : 0;
  const int chunks = (tokens + kChunk - 1) / kChunk;
#pragma unroll
  for (int i = 0; i < kStages - 1; ++i) {
    if (i < chunks) Fetch<Dim>(stages + i, block, p.frame.v_offset, i * kChunk, tokens, self);
    CommitCopies();
  }
  // The query as the first operand, [16 heads, 16 channels] a step: a warp makes every fourth step, both terms.
  for (int step = warp; step < Dim / 16; step += kWarps) {
    uint32_t terms[4][2];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int h = group + (i % 2) * 8, d = step * 16 + (i / 2) * 8 + quad * 2;
      float2 x = make_float2(0, 0);
      if (h < p.group) {
        x = *reinterpret_cast<const float2*>(p.q + work.seat * p.q_stride +
                                             static_cast<int64_t>(work.kv_head * p.group + h) * Dim + d);
      }
      SplitBf16(x.x, x.y, terms[i]);
    }
    fragments[step * 2 * kWarpSize + self] = make_uint4(terms[0][0], terms[1][0], terms[2][0], terms[3][0]);
    fragments[(step * 2 + 1) * kWarpSize + self] = make_uint4(terms[0][1], terms[1][1], terms[2][1], terms[3][1]);
  }
  __syncthreads();
  if (busy) {
    const float* bias = p.bias ? reinterpret_cast<const float*>(block + p.frame.s_offset) : nullptr;
    for (int chunk = 0; chunk < chunks; ++chunk) {
      if (chunk + kStages - 1 < chunks) {
        Fetch<Dim>(stages + (chunk + kStages - 1) % kStages, block, p.frame.v_offset, (chunk + kStages - 1) * kChunk,
                   tokens, self);
      }
      CommitCopies();
      WaitForCopies<kStages - 1>();
      __syncwarp();
      const Stage<Dim>& stage = stages[chunk % kStages];
      // Logits [16 heads, 16 tokens], the terms summed apart: chains half as long.
      float d[2][4] = {}, rest[2][4] = {};
#pragma unroll
      for (int step = 0; step < Dim / 16; ++step) {
        // K as columns: matrices (tokens 0-7, channels 0-7), (0-7, 8-15), (8-15, 0-7), (8-15, 8-15).
        uint32_t k[4];
        const int matrix = self / 8;
        LoadMatrices(k, SharedAddress(stage.k + Place<Dim>((matrix / 2) * 8 + self % 8, step * 2 + matrix % 2)));
        const uint4 first = fragments[step * 2 * kWarpSize + self], second = fragments[(step * 2 + 1) * kWarpSize + self];
        const uint32_t a[4] = {first.x, first.y, first.z, first.w}, b[4] = {second.x, second.y, second.z, second.w};
        MultiplyAdd(d[0], a, k[0], k[1]);
        MultiplyAdd(d[1], a, k[2], k[3]);
        MultiplyAdd(rest[0], b, k[0], k[1]);
        MultiplyAdd(rest[1], b, k[2], k[3]);
      }
      float now[2] = {m[0], m[1]};
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int token = chunk * kChunk + n * 8 + quad * 2 + i % 2;
          d[n][i] = token < tokens ? (d[n][i] + rest[n][i]) * p.scale + (bias != nullptr ? bias[token] : 0.0f) : -INFINITY;
          now[i / 2] = fmaxf(now[i / 2], d[n][i]);
        }
      }
      float before[2], sum[2] = {0, 0};
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        now[r] = fmaxf(now[r], __shfl_xor_sync(kAllLanes, now[r], 1));
        now[r] = fmaxf(now[r], __shfl_xor_sync(kAllLanes, now[r], 2));
        before[r] = __expf(m[r] - now[r]);
        m[r] = now[r];
      }
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sum[i / 2] += d[n][i] = __expf(d[n][i] - now[i / 2]);
      }
#pragma unroll
      for (int r = 0; r < 2; ++r) l[r] = l[r] * before[r] + sum[r];
      if (__any_sync(kAllLanes, before[0] != 1.0f || before[1] != 1.0f)) {
#pragma unroll
        for (int n = 0; n < Dim / 8; ++n) {
          out[n][0] *= before[0];
          out[n][1] *= before[0];
          out[n][2] *= before[1];
          out[n][3] *= before[1];
        }
      }
      // The weights as rows: [16 heads, 16 tokens].
      const uint32_t w[4] = {PackBf16(d[0][0], d[0][1]), PackBf16(d[0][2], d[0][3]), PackBf16(d[1][0], d[1][1]),
                             PackBf16(d[1][2], d[1][3])};
#pragma unroll
      for (int n = 0; n < Dim / 16; ++n) {
        // V, transposed: matrices (tokens 0-7, channels 0-7), (8-15, 0-7), (0-7, 8-15), (8-15, 8-15).
        uint32_t v[4];
        const int matrix = self / 8;
        LoadMatricesTransposed(v, SharedAddress(stage.v + Place<Dim>((matrix % 2) * 8 + self % 8, n * 2 + matrix / 2)));
        MultiplyAdd(out[2 * n], w, v[0], v[1]);
        MultiplyAdd(out[2 * n + 1], w, v[2], v[3]);
      }
      __syncwarp();  // the stage may be overwritten
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      l[r] += __shfl_xor_sync(kAllLanes, l[r], 1);
      l[r] += __shfl_xor_sync(kAllLanes, l[r], 2);
    }
  }
  WaitForCopies<0>();
  __syncthreads();

  // Merged in the order of the blocks; every thread for channels of its own.
  float* part_m = reinterpret_cast<float*>(mma_shared);  // [warps, 16]
  float* part_l = part_m + kWarps * 16;
  float* part = part_l + kWarps * 16;  // [warps, 16, Dim]
  if (warp < work.blocks) {
    if (quad == 0) {
      for (int r = 0; r < 2; ++r) {
        part_m[warp * 16 + group + r * 8] = m[r];
        part_l[warp * 16 + group + r * 8] = l[r];
      }
    }
#pragma unroll
    for (int n = 0; n < Dim / 8; ++n) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        *reinterpret_cast<float2*>(part + (warp * 16 + group + r * 8) * Dim + n * 8 + quad * 2) =
            make_float2(out[n][2 * r], out[n][2 * r + 1]);
      }
    }
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < p.group * Dim / 4; i += kMmaThreads) {
    const int h = i / (Dim / 4), c = i % (Dim / 4) * 4;
    float max = part_m[h], sum = part_l[h];
    float4 acc = *reinterpret_cast<const float4*>(part + h * Dim + c);
    for (int w = 1; w < work.blocks; ++w) {
      const float now = fmaxf(max, part_m[w * 16 + h]);
      const float a = __expf(max - now), b = __expf(part_m[w * 16 + h] - now);
      const float4 x = *reinterpret_cast<const float4*>(part + (w * 16 + h) * Dim + c);
      sum = sum * a + part_l[w * 16 + h] * b;
      acc = make_float4(acc.x * a + x.x * b, acc.y * a + x.y * b, acc.z * a + x.z * b, acc.w * a + x.w * b);
      max = now;
    }
    const int64_t at = static_cast<int64_t>(work.state) * p.group + h;
    *reinterpret_cast<float4*>(p.states.acc + at * Dim + c) = acc;
    if (c == 0) {
      p.states.m[at] = max;
      p.states.l[at] = sum;
    }
  }
}

template <int Dim>
void LaunchMma(const Params& p, const dim3& grid, cudaStream_t stream) {
  constexpr size_t kRing = size_t{kWarps} * kStages * sizeof(Stage<Dim>) + size_t{Dim} / 16 * 2 * kWarpSize * sizeof(uint4);
  constexpr size_t kMerge = size_t{kWarps} * 16 * (Dim + 2) * sizeof(float);
  constexpr size_t kShared = std::max(kRing, kMerge);
  AllowShared(reinterpret_cast<const void*>(&MmaAttention<Dim>), kShared);
  MmaAttention<Dim><<<grid, kMmaThreads, kShared, stream>>>(p);
}

}  // namespace

void seat_attention(ops::Backend& backend, ops::Stream stream, const ops::SeatAttentionArgs& args) {
  const int lanes = static_cast<int>(args.positions.size()) * args.kv_heads;
  if (lanes == 0) return;
  Context& context = ContextOf(backend);
  const Params p = {.q = args.q.row<float>(0),
                    .q_stride = args.q.row_stride(),
                    .positions = context.Stage(args.positions, stream),
                    .selection = args.selection,
                    .addresses = args.addresses,
                    .late = args.late,
                    .part = args.part,
                    .frame = args.frame,
                    .bias = args.bias,
                    .scale = args.scale,
                    .kv_heads = args.kv_heads,
                    .group = args.states.heads,
                    .splits = ops::SplitsOf(args.selection.width),
                    .states = args.states};
  const dim3 grid(static_cast<unsigned>(p.splits), static_cast<unsigned>(lanes));
  const cudaStream_t queue = context.stream(stream);
  const ops::BlockFrame& frame = args.frame;
  const bool fits = frame.dtype == DType::kBF16 && frame.k_dim == frame.v_dim && frame.v_offset % 16 == 0 &&
                    p.group <= 16 && p.q_stride % 2 == 0 && reinterpret_cast<uintptr_t>(p.q) % 8 == 0 &&
                    reinterpret_cast<uintptr_t>(args.states.acc) % 16 == 0;
  if (fits && frame.k_dim == 128) {
    LaunchMma<128>(p, grid, queue);
  } else if (fits && frame.k_dim == 64) {
    LaunchMma<64>(p, grid, queue);
  } else {
    // The compiler reads weights four at a time, so there is room for three more than are used.
    const size_t shared = static_cast<size_t>(frame.block_size + frame.v_dim + 3) * sizeof(float);
    DispatchFloat(frame.dtype, [&]<typename T>() { PlainAttention<T><<<grid, kPlainThreads, shared, queue>>>(p); });
  }
  NOSA_CUDA_LAUNCHED();
}

}  // namespace nosa::cuda
