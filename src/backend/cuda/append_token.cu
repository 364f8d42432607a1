#include "ops/append_token.h"

#include <cuda_bf16.h>

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

__device__ float Stored(float x, bool bf16) { return bf16 ? __bfloat162float(__float2bfloat16_rn(x)) : x; }
__device__ void Store(void* to, bool bf16, int64_t i, float x) {
  if (bf16) {
    static_cast<__nv_bfloat16*>(to)[i] = __float2bfloat16_rn(x);
  } else {
    static_cast<float*>(to)[i] = x;
  }
}

struct Params {
  const float *k, *v, *s;
  int64_t k_stride, v_stride, s_stride;
  const int32_t* positions;
  const ops::WindowState* states;
  ops::SlotLanes lanes;
  ops::BlockFrame frame;
  int kernel_size, kernel_stride;
  bool bf16_cache, bf16_summary;
};

// The running sum of channel c that the token of `pos` adds to.
__device__ float* RunningSum(const Params& p, const ops::WindowState& state, int32_t pos, int c) {
  return state.carry + (pos / p.kernel_stride % (p.kernel_size / p.kernel_stride)) * (p.frame.k_dim + 1) + c;
}

// Extends the running sum of channel c, which is `before`, by one value, and writes the window it completes: the same
// sums in the same order as pool_windows, one rounding each.
__device__ void Pool(const Params& p, const ops::WindowState& state, int32_t pos, int c, float before, float value) {
  const int strides = p.kernel_size / p.kernel_stride, width = p.frame.k_dim + 1;
  const float total = __fadd_rn(pos % p.kernel_stride == 0 ? 0.0f : before, value);
  *RunningSum(p, state, pos, c) = total;
  if ((pos + 1) % p.kernel_stride != 0 || pos + 1 < p.kernel_size) return;
  const int window = (pos + 1 - p.kernel_size) / p.kernel_stride;
  float all = state.carry[window % strides * width + c];
  for (int i = 1; i < strides; ++i) all = __fadd_rn(all, state.carry[(window + i) % strides * width + c]);
  const float mean = __fdiv_rn(all, static_cast<float>(p.kernel_size));
  if (c == p.frame.k_dim) {
    state.sigma[window] = mean;
  } else {
    const int64_t at = (static_cast<int64_t>(window / ops::kWindowTile) * p.frame.k_dim + c) * ops::kWindowTile +
                       window % ops::kWindowTile;
    Store(state.keys, p.bf16_summary, at, mean);
  }
}

__global__ void AppendToken(const Params p) {
  LetNextStart();
  const int lane = static_cast<int>(blockIdx.x), seat = lane / p.lanes.kv_heads, g = lane % p.lanes.kv_heads;
  const int first = static_cast<int>(threadIdx.x), step = static_cast<int>(blockDim.x);
  // All that this step does not change is looked up while k and v are on their way.
  const int32_t pos = p.positions[seat];
  const int row = max(pos, 0) % p.frame.block_size;
  std::byte* tail = p.lanes.frames + (static_cast<size_t>(lane) * (p.lanes.slots + 1) + p.lanes.slots) * p.frame.bytes;
  std::byte* home = p.lanes.pages[static_cast<int64_t>(lane) * p.lanes.max_blocks + max(pos, 0) / p.frame.block_size];
  const ops::WindowState state = p.states[lane];
  const bool scored = first == 0 && state.sigma != nullptr;
  const float before = pos >= 0 && first < p.frame.k_dim ? *RunningSum(p, state, pos, first) : 0.0f;
  const float before_s = pos >= 0 && scored ? *RunningSum(p, state, pos, p.frame.k_dim) : 0.0f;
  WaitForPrevious();
  if (pos < 0) return;
  for (int c = first; c < p.frame.k_dim; c += step) {
    const float k = p.k[seat * p.k_stride + g * p.frame.k_dim + c];
    const int64_t at = static_cast<int64_t>(row) * p.frame.k_dim + c;
    Store(tail, p.bf16_cache, at, k);
    if (home != nullptr) Store(home, p.bf16_cache, at, k);
    Pool(p, state, pos, c, c == first ? before : *RunningSum(p, state, pos, c), Stored(k, p.bf16_cache));
  }
  for (int c = first; c < p.frame.v_dim; c += step) {
    const float v = p.v[seat * p.v_stride + g * p.frame.v_dim + c];
    const int64_t at = static_cast<int64_t>(row) * p.frame.v_dim + c;
    Store(tail + p.frame.v_offset, p.bf16_cache, at, v);
    if (home != nullptr) Store(home + p.frame.v_offset, p.bf16_cache, at, v);
  }
  if (first != 0) return;
  const float s = p.s == nullptr ? 0.0f : p.s[seat * p.s_stride + g];
  if (p.frame.s_offset != 0) {
    reinterpret_cast<float*>(tail + p.frame.s_offset)[row] = s;
    if (home != nullptr) reinterpret_cast<float*>(home + p.frame.s_offset)[row] = s;
  }
  if (scored) Pool(p, state, pos, p.frame.k_dim, before_s, p.frame.s_offset != 0 ? s : 0.0f);
}

}  // namespace

void append_token(ops::Backend& backend, ops::Stream stream, const ops::AppendTokenArgs& args) {
  const int lanes = args.lanes.seats * args.lanes.kv_heads;
  if (lanes == 0) return;
  Context& context = ContextOf(backend);
  const Params params = {.k = args.k.row<float>(0),
                         .v = args.v.row<float>(0),
                         .s = args.s.empty() ? nullptr : args.s.row<float>(0),
                         .k_stride = args.k.row_stride(),
                         .v_stride = args.v.row_stride(),
                         .s_stride = args.s.empty() ? 0 : args.s.row_stride(),
                         .positions = context.Stage(args.positions, stream),
                         .states = context.Stage(args.states, stream),
                         .lanes = args.lanes,
                         .frame = args.frame,
                         .kernel_size = args.kernel_size,
                         .kernel_stride = args.kernel_stride,
                         .bf16_cache = args.frame.dtype == DType::kBF16,
                         .bf16_summary = args.summary_dtype == DType::kBF16};
  Launch(&AppendToken, dim3(static_cast<unsigned>(lanes)), dim3(128), 0, context.stream(stream), params);
}

}  // namespace nosa::cuda
