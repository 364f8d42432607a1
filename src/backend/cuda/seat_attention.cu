#include "ops/seat_attention.h"

#include <algorithm>

#include "backend/cuda/seat_work.cuh"

namespace nosa::cuda {
namespace {

constexpr int kThreads = 128, kCtas = 4, kFetchers = 8;

// One head of a split. Shared memory: the weights of a block's tokens [B], the sums [Dv].
template <typename T>
__device__ void AttendHead(const SeatParams& p, const SeatItem& item, int h, float* weights, float* acc) {
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarpSize, self = thread % kWarpSize;
  const int head = item.lane % p.kv_heads * p.group + h;
  const float* q = p.q + item.lane / p.kv_heads * p.q_stride + static_cast<int64_t>(head) * p.frame.k_dim;
  float m = -INFINITY, l = 0;
  for (int d = thread; d < p.frame.v_dim; d += kThreads) acc[d] = 0;
  for (int i = 0; i < item.blocks; ++i) {
    const int64_t entry = static_cast<int64_t>(item.lane) * p.selection.width + item.split * ops::kSplitBlocks + i;
    const std::byte* block = p.addresses[entry];
    const T* k = reinterpret_cast<const T*>(block);
    const T* v = reinterpret_cast<const T*>(block + p.frame.v_offset);
    const float* s = reinterpret_cast<const float*>(block + p.frame.s_offset);
    const int tokens = min(p.frame.block_size, item.pos + 1 - p.selection.ids[entry] * p.frame.block_size);
    __syncthreads();
    for (int j = warp; j < tokens; j += kThreads / kWarpSize) {
      float dot = 0;
      for (int d = self; d < p.frame.k_dim; d += kWarpSize) {
        dot += q[d] * ToFloat(k[static_cast<int64_t>(j) * p.frame.k_dim + d]);
      }
      dot = WarpSum(dot);
      if (self == 0) weights[j] = dot * p.scale + (p.bias ? s[j] : 0.0f);
    }
    __syncthreads();
    float max = -INFINITY;
    for (int j = thread; j < tokens; j += kThreads) max = fmaxf(max, weights[j]);
    max = fmaxf(m, BlockMax(max));
    float sum = 0;
    for (int j = thread; j < tokens; j += kThreads) sum += weights[j] = expf(weights[j] - max);
    sum = BlockSum(sum);
    const float before = expf(m - max);
    l = l * before + sum;
    m = max;
    for (int d = thread; d < p.frame.v_dim; d += kThreads) {
      float total = acc[d] * before;
      for (int j = 0; j < tokens; ++j) total += weights[j] * ToFloat(v[static_cast<int64_t>(j) * p.frame.v_dim + d]);
      acc[d] = total;
    }
  }
  const int64_t at = (static_cast<int64_t>(item.lane) * p.splits + item.split) * p.group + h;
  for (int d = thread; d < p.frame.v_dim; d += kThreads) p.states.acc[at * p.frame.v_dim + d] = acc[d];
  if (thread == 0) {
    p.states.m[at] = m;
    p.states.l[at] = l;
  }
}

// Any type and shape, one head after another.
template <typename T>
__global__ void __launch_bounds__(kThreads, kCtas) PlainAttention(const __grid_constant__ SeatParams p) {
  extern __shared__ float plain_shared[];
  __shared__ SeatItem item;
  const int thread = static_cast<int>(threadIdx.x);
  const int cta = static_cast<int>(blockIdx.x), fetchers = FetchersOf(p);
  constexpr int kWarps = kThreads / kWarpSize;
  if (cta < fetchers) FetchBlocks(p, cta * kWarps + thread / kWarpSize, fetchers * kWarps);  // before it takes splits
  __syncthreads();
  SeatWork work(p);  // the first warp takes splits
  SeatWork::Block own = {};
  for (;;) {
    if (thread < kWarpSize) {
      const SeatItem next = work.Next(&own);
      if (thread == 0) item = next;
    }
    __syncthreads();
    const SeatItem now = item;
    if (now.lane < 0) break;
    for (int i = 0; p.copies != nullptr && i < now.blocks; ++i) {
      const int entry = now.split * ops::kSplitBlocks + i;
      WaitForBlock(p, p.arrivals[static_cast<int64_t>(now.lane) * p.selection.width + entry]);
    }
    for (int h = 0; h < p.group; ++h) AttendHead<T>(p, now, h, plain_shared, plain_shared + p.frame.block_size);
    __syncthreads();
    if (thread == 0) FinishSplit(p, now);
  }
  MergeHeads<1>(p);
}

}  // namespace

void seat_attention(ops::Backend& backend, ops::Stream stream, const ops::SeatAttentionArgs& args) {
  const ops::BlockFrame& frame = args.frame;
  const int lanes = static_cast<int>(args.positions.size()) * args.kv_heads,
            splits = ops::SplitsOf(args.selection.width);
  if (lanes == 0) return;
  Context& context = ContextOf(backend);
  const int group = static_cast<int>(args.q.dim(1)) / args.kv_heads;
  const int64_t states = int64_t{lanes} * splits, heads = states * group;
  // 16-byte aligned: the sums come first.
  float* acc = static_cast<float*>(
      context.Scratch(static_cast<size_t>(heads) * static_cast<size_t>(frame.v_dim + 2) * sizeof(float), stream));
  const int words = static_cast<int>(frame.bytes / sizeof(int4));
  SeatParams p = {
      .q = args.q.row<float>(0),
      .q_stride = args.q.row_stride(),
      .positions = context.Stage(args.positions, stream),
      .selection = args.selection,
      .addresses = args.addresses,
      .copies = args.copies,
      .copy_count = args.copy_count,
      .arrivals = args.arrivals,
      .frame = frame,
      .bias = args.bias,
      .scale = args.scale,
      .lanes = lanes,
      .kv_heads = args.kv_heads,
      .group = group,
      .splits = splits,
      .states = {acc + heads * frame.v_dim, acc + heads * (frame.v_dim + 1), acc, states, group, frame.v_dim},
      .out = args.out.row_bytes(0),
      .out_dtype = args.out.dtype(),
      .out_stride = args.out.row_stride()};
  p.fetchers = kFetchers;
  p.pieces = (words + kFetchWords * kWarpSize - 1) / (kFetchWords * kWarpSize);
  p.piece_words = (words + p.pieces - 1) / p.pieces;
  PlaceCounters(context.Counters(SeatCounters(lanes, args.selection.width), stream), &p);
  const cudaStream_t queue = context.stream(stream);
  if (LaunchSeatMma(p, context.multiprocessors(), queue)) return;
  // The compiler reads weights four at a time, so there is room for three more than are used.
  const size_t shared = static_cast<size_t>(frame.block_size + frame.v_dim + 3) * sizeof(float);
  DispatchFloat(frame.dtype, [&]<typename T>() {
    int room = 0;  // for CTAs on a multiprocessor: all must be there at once
    NOSA_CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&room, PlainAttention<T>, kThreads, shared));
    const int64_t ctas = std::min<int64_t>(states, int64_t{std::max(room, 1)} * context.multiprocessors());
    PlainAttention<T><<<static_cast<unsigned>(ctas), kThreads, shared, queue>>>(p);
  });
  NOSA_CUDA_LAUNCHED();
}

}  // namespace nosa::cuda
