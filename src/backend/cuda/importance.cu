#include "ops/importance.h"

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

constexpr int kWarps = 4;  // of a block

struct ImportanceShape {
  int64_t rows;
  int heads, width;
  int64_t v_stride, delta_stride, s_stride;
};

// A warp a row and head. Few results, so the function of the sum may be double.
template <typename TDelta, typename TA>
__global__ void Importance(const float* v, const TDelta* delta, const TA* a, float* s, ImportanceShape shape) {
  LetNextStart();
  const int64_t pair = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarpSize;
  const int64_t row = pair / shape.heads;
  const int head = static_cast<int>(pair % shape.heads), lane = static_cast<int>(threadIdx.x % kWarpSize);
  // A warp's first weights come while it waits for v.
  constexpr int kAhead = 8;
  float weights[kAhead];
#pragma unroll
  for (int i = 0; i < kAhead; ++i) {
    const int c = i * kWarpSize + lane;
    weights[i] = row < shape.rows && c < shape.width ? LoadFloat(delta + head * shape.delta_stride, c) : 0.0f;
  }
  WaitForPrevious();
  if (row >= shape.rows) return;
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kAhead; ++i) {
    const int c = i * kWarpSize + lane;
    if (c < shape.width) sum = fmaf(v[row * shape.v_stride + c], weights[i], sum);
  }
  for (int c = kAhead * kWarpSize + lane; c < shape.width; c += kWarpSize) {
    sum = fmaf(v[row * shape.v_stride + c], LoadFloat(delta + head * shape.delta_stride, c), sum);
  }
  const double x = WarpSum(sum);
  if (lane != 0) return;
  // log(1 + e^x) = max(x, 0) + log(1 + e^-|x|), whose exponential cannot overflow.
  const double softplus = fmax(x, 0.0) + log1p(exp(-fabs(x)));
  s[row * shape.s_stride + head] = static_cast<float>(softplus * static_cast<double>(LoadFloat(a, head)));
}

}  // namespace

void importance(ops::Backend& backend, ops::Stream stream, const ops::ImportanceArgs& args) {
  const ImportanceShape shape = {
      args.v.rows(),       static_cast<int>(args.v.dim(1)), static_cast<int>(args.delta.dim(1)),
      args.v.row_stride(), args.delta.row_stride(),         args.s.row_stride()};
  const int64_t pairs = shape.rows * shape.heads;
  if (pairs == 0) return;
  DispatchFloat(args.delta.dtype(), [&]<typename TDelta>() {
    DispatchFloat(args.a.dtype(), [&]<typename TA>() {
      Launch(&Importance<TDelta, TA>, dim3(GridFor(pairs, kWarps)), dim3(kWarps * kWarpSize), 0,
             ContextOf(backend).stream(stream), args.v.row<float>(0), args.delta.row<TDelta>(0),
             reinterpret_cast<const TA*>(args.a.bytes()), args.s.row<float>(0), shape);
    });
  });
}

}  // namespace nosa::cuda
