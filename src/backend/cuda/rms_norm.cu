#include "ops/rms_norm.h"

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

// One block a row. Each thread takes groups of four neighbours, whether they can be loaded at once or not: the order of
// the sum, and so the bits of a row, do not depend on where the row lies.
template <typename T, typename Y>
__global__ void RmsNorm(const float* x, const T* weight, Y* y, int64_t x_stride, int64_t y_stride, int width, float eps,
                        bool fours) {
  LetNextStart();
  WaitForPrevious();
  x += blockIdx.x * x_stride;
  y += blockIdx.x * y_stride;
  const int first = static_cast<int>(threadIdx.x) * 4, step = static_cast<int>(blockDim.x) * 4;
  float squares = 0.0f;
  for (int i = first; i < width; i += step) {
    if (fours && i + 4 <= width) {
      const float4 v = Load4(x + i);
      squares = fmaf(v.w, v.w, fmaf(v.z, v.z, fmaf(v.y, v.y, fmaf(v.x, v.x, squares))));
    } else {
      for (int j = i; j < min(i + 4, width); ++j) squares = fmaf(x[j], x[j], squares);
    }
  }
  const float factor = 1.0f / sqrtf(BlockSum(squares) / static_cast<float>(width) + eps);
  for (int i = first; i < width; i += step) {
    if (fours && i + 4 <= width) {
      const float4 v = Load4(x + i), w = Load4(weight + i);
      Store4(y + i, make_float4(v.x * factor * w.x, v.y * factor * w.y, v.z * factor * w.z, v.w * factor * w.w));
    } else {
      for (int j = i; j < min(i + 4, width); ++j) StoreFloat(y, j, x[j] * factor * LoadFloat(weight, j));
    }
  }
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
      constexpr int kThreads = 256;
      Launch(&RmsNorm<T, Y>, dim3(static_cast<unsigned>(rows)), dim3(kThreads), 0, ContextOf(backend).stream(stream), x,
             weight, y, args.x.row_stride(), args.y.row_stride(), static_cast<int>(width), args.eps, fours);
    });
  });
}

}  // namespace nosa::cuda
