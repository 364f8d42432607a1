#include "ops/rms_norm.h"

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

constexpr int kThreads = 512;

// One block a row. Each thread takes groups of four neighbours, whether they can be loaded at once or not: the order of
// the sum, and so the bits of a row, do not depend on where the row lies. A thread keeps up to kHeld groups; rows of
// more are read twice.
template <int kHeld, typename T, typename Y>
__global__ void __launch_bounds__(kThreads) RmsNorm(const float* x, const T* weight, Y* y, int64_t x_stride,
                                                    int64_t y_stride, int width, float eps, bool fours) {
  LetNextStart();
  x += blockIdx.x * x_stride;
  y += blockIdx.x * y_stride;
  // Zeros behind the end of a row.
  const auto load = [&](const auto* from, int i) {
    if (fours && i + 4 <= width) return Load4(from + i);
    const auto at = [&](int j) { return j < width ? LoadFloat(from, j) : 0.0f; };
    return make_float4(at(i), at(i + 1), at(i + 2), at(i + 3));
  };
  constexpr int kStep = kThreads * 4;
  const int first = static_cast<int>(threadIdx.x) * 4;
  float4 weights[kHeld], values[kHeld];
#pragma unroll
  for (int g = 0; g < kHeld; ++g) weights[g] = load(weight, first + g * kStep);  // while x is on its way
  WaitForPrevious();
#pragma unroll
  for (int g = 0; g < kHeld; ++g) values[g] = load(x, first + g * kStep);
  float squares = 0.0f;
  const auto add = [&](float4 v) { squares = fmaf(v.w, v.w, fmaf(v.z, v.z, fmaf(v.y, v.y, fmaf(v.x, v.x, squares)))); };
#pragma unroll
  for (int g = 0; g < kHeld; ++g) add(values[g]);
  for (int i = first + kHeld * kStep; i < width; i += kStep) add(load(x, i));
  const float factor = 1.0f / sqrtf(BlockSum(squares) / static_cast<float>(width) + eps);
  const auto store = [&](int i, float4 v, float4 w) {
    const float4 scaled = make_float4(v.x * factor * w.x, v.y * factor * w.y, v.z * factor * w.z, v.w * factor * w.w);
    if (fours && i + 4 <= width) return Store4(y + i, scaled);
    const float each[4] = {scaled.x, scaled.y, scaled.z, scaled.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (i + j < width) StoreFloat(y, i + j, each[j]);
    }
  };
#pragma unroll
  for (int g = 0; g < kHeld; ++g) store(first + g * kStep, values[g], weights[g]);
  for (int i = first + kHeld * kStep; i < width; i += kStep) store(i, load(x, i), load(weight, i));
}

}  // namespace

void rms_norm(ops::Backend& backend, ops::Stream stream, const ops::RmsNormArgs& args) {
  const int64_t rows = args.x.rows(), width = args.x.dim(1);
  if (rows * width == 0) return;
  const float* x = args.x.row<float>(0);
  DispatchFloat(args.weight.dtype(), [&]<typename T>() {
    const T* weight = reinterpret_cast<const T*>(args.weight.bytes());
    DispatchFloat(args.y.dtype(), [&]<typename Y>() {
      Y* y = args.y.row<Y>(0);
      const bool fours =
          FoursAligned(x, args.x.row_stride()) && FoursAligned(y, args.y.row_stride()) && FoursAligned(weight, 0);
      const auto launch = [&](auto* kernel) {
        Launch(kernel, dim3(static_cast<unsigned>(rows)), dim3(kThreads), 0, ContextOf(backend).stream(stream), x,
               weight, y, args.x.row_stride(), args.y.row_stride(), static_cast<int>(width), args.eps, fours);
      };
      if (width <= kThreads * 4) {
        launch(&RmsNorm<1, T, Y>);
      } else if (width <= kThreads * 8) {
        launch(&RmsNorm<2, T, Y>);
      } else {
        launch(&RmsNorm<4, T, Y>);
      }
    });
  });
}

}  // namespace nosa::cuda
