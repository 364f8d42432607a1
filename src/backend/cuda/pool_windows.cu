#include "ops/pool_windows.h"

#include <algorithm>

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

// PoolWindowsArgs with its plans where kernels read them.
struct Pooling {
  const ops::PoolWindowsArgs::Segment* segments;
  const ops::KvRow* rows;
  const ops::WindowState* states;
  int kv_heads, head_dim, kernel_size, kernel_stride;
};

// One segment and KV head. A stride's sum is that of its tokens in their order, so whoever needs it may add them again:
// strides run side by side, and only what earlier calls have seen comes from the running sums.
template <typename TKey, typename TSummary>
struct Lane {
  Pooling args;
  const ops::KvRow* rows;  // of the first token
  ops::WindowState state;
  int first_pos, end_pos;

  __device__ Lane(const Pooling& pooling, int index) : args(pooling) {
    const ops::PoolWindowsArgs::Segment segment = args.segments[index / args.kv_heads];
    const int head = index % args.kv_heads;
    rows = args.rows + static_cast<int64_t>(segment.row_begin) * args.kv_heads + head;
    state = args.states[segment.state_begin + head];
    first_pos = segment.first_pos;
    end_pos = segment.first_pos + segment.tokens;
  }

  __device__ int strides() const { return args.kernel_size / args.kernel_stride; }
  __device__ int first_stride() const { return first_pos / args.kernel_stride; }
  __device__ int end_stride() const { return end_pos > first_pos ? (end_pos - 1) / args.kernel_stride + 1 : 0; }
  // Channel head_dim is the importance.
  __device__ int channels() const { return args.head_dim + (state.sigma != nullptr ? 1 : 0); }
  __device__ float* Carry(int stride, int c) const {
    return state.carry + (stride % strides()) * (args.head_dim + 1) + c;
  }

  __device__ float Value(int pos, int c) const {
    const ops::KvRow& row = rows[static_cast<int64_t>(pos - first_pos) * args.kv_heads];
    if (c < args.head_dim) return LoadFloat(static_cast<const TKey*>(row.k), c);
    return row.s == nullptr ? 0.0f : *row.s;
  }

  // Of the tokens of `stride` before end_pos.
  __device__ float StrideSum(int stride, int c) const {
    const int begin = stride * args.kernel_stride, end = min(begin + args.kernel_stride, end_pos);
    float sum = begin < first_pos ? *Carry(stride, c) : 0.0f;
#pragma unroll 8
    for (int pos = max(begin, first_pos); pos < end; ++pos) sum = __fadd_rn(sum, Value(pos, c));
    return sum;
  }

  // Writes the window that ends with `stride`, if that is complete.
  __device__ void WriteWindow(int stride, int c) const {
    const int end = (stride + 1) * args.kernel_stride, window = stride + 1 - strides();
    if (end > end_pos || window < 0) return;
    float total = StrideSum(window, c);
    for (int i = window + 1; i <= stride; ++i) total = __fadd_rn(total, StrideSum(i, c));
    const float mean = __fdiv_rn(total, static_cast<float>(args.kernel_size));
    if (c == args.head_dim) {
      state.sigma[window] = mean;
    } else {
      const int64_t tile = window / ops::kWindowTile, lane = window % ops::kWindowTile;
      StoreFloat(static_cast<TSummary*>(state.keys), (tile * args.head_dim + c) * ops::kWindowTile + lane, mean);
    }
  }
};

// Lanes along x, the strides of a lane shared out along y.
template <typename TKey, typename TSummary>
__device__ void WriteWindows(const Lane<TKey, TSummary>& lane) {
  for (int stride = lane.first_stride() + static_cast<int>(blockIdx.y); stride < lane.end_stride();
       stride += static_cast<int>(gridDim.y)) {
    for (int c = static_cast<int>(threadIdx.x); c < lane.channels(); c += static_cast<int>(blockDim.x)) {
      lane.WriteWindow(stride, c);
    }
  }
}

// The running sums of the last strides, for calls to come. Each takes the place of a sum that windows of this call
// read: it must come after them.
template <typename TKey, typename TSummary>
__device__ void WriteCarry(const Lane<TKey, TSummary>& lane) {
  const int end = lane.end_stride();
  for (int stride = max(lane.first_stride(), end - lane.strides()); stride < end; ++stride) {
    for (int c = static_cast<int>(threadIdx.x); c < lane.channels(); c += static_cast<int>(blockDim.x)) {
      *lane.Carry(stride, c) = lane.StrideSum(stride, c);
    }
  }
}

// gridDim.y is 1: a thread has its channels for itself, and no other reads the sums it overwrites.
template <typename TKey, typename TSummary>
__global__ void PoolLanes(Pooling args) {
  const Lane<TKey, TSummary> lane(args, static_cast<int>(blockIdx.x));
  WriteWindows(lane);
  WriteCarry(lane);
}
template <typename TKey, typename TSummary>
__global__ void PoolWindows(Pooling args) {
  WriteWindows(Lane<TKey, TSummary>(args, static_cast<int>(blockIdx.x)));
}
template <typename TKey, typename TSummary>
__global__ void PoolCarry(Pooling args) {
  WriteCarry(Lane<TKey, TSummary>(args, static_cast<int>(blockIdx.x)));
}

struct PoolGrid {
  unsigned lanes, threads;
  unsigned shares;  // of a lane's strides; 1: one kernel does it all
};

template <typename TKey, typename TSummary>
void Pool(const Pooling& pooling, PoolGrid grid, cudaStream_t stream) {
  if (grid.shares == 1) {
    PoolLanes<TKey, TSummary><<<grid.lanes, grid.threads, 0, stream>>>(pooling);
    NOSA_CUDA_LAUNCHED();
    return;
  }
  PoolWindows<TKey, TSummary><<<dim3(grid.lanes, grid.shares), grid.threads, 0, stream>>>(pooling);
  NOSA_CUDA_LAUNCHED();
  PoolCarry<TKey, TSummary><<<grid.lanes, grid.threads, 0, stream>>>(pooling);
  NOSA_CUDA_LAUNCHED();
}

// How long each segment is only the device may know; all together they have `tokens` at most. A decode step has one a
// segment, and is best served by a single launch.
unsigned SharesOf(int64_t segments, int64_t lanes, int64_t tokens, int stride, int multiprocessors) {
  if (tokens <= 2 * stride * segments) return 1;
  return static_cast<unsigned>(
      std::clamp<int64_t>(CeilDiv(8 * multiprocessors, lanes), 1, CeilDiv(tokens, stride) + 1));
}

}  // namespace

void pool_windows(ops::Backend& backend, ops::Stream stream, const ops::PoolWindowsArgs& args) {
  const auto segments = static_cast<int64_t>(args.segments.size());
  if (segments == 0 || args.rows.empty()) return;
  Context& context = ContextOf(backend);
  const Pooling pooling = {context.Stage(args.segments, stream),
                           context.Stage(args.rows, stream),
                           context.Stage(args.states, stream),
                           args.kv_heads,
                           args.head_dim,
                           args.kernel_size,
                           args.kernel_stride};
  const int64_t lanes = segments * args.kv_heads;
  const int64_t tokens = static_cast<int64_t>(args.rows.size()) / args.kv_heads;
  const PoolGrid grid = {static_cast<unsigned>(lanes), std::min(GridFor(args.head_dim + 1, kWarpSize), 8u) * kWarpSize,
                         SharesOf(segments, lanes, tokens, args.kernel_stride, context.multiprocessors())};
  DispatchFloat(args.kv_dtype, [&]<typename TKey>() {
    DispatchFloat(args.summary_dtype,
                  [&]<typename TSummary>() { Pool<TKey, TSummary>(pooling, grid, context.stream(stream)); });
  });
}

}  // namespace nosa::cuda
