#include "ops/softmax.h"

#include <cmath>

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

// One block a row; the exponentials wait in y, where each thread finds its own again.
__global__ void Softmax(const float* x, float* y, int64_t x_stride, int64_t y_stride, int width, float scale,
                        bool fours) {
  x += blockIdx.x * x_stride;
  y += blockIdx.x * y_stride;
  const int first = static_cast<int>(threadIdx.x) * 4, step = static_cast<int>(blockDim.x) * 4;
  float max = -INFINITY;
  for (int i = first; i < width; i += step) {
    if (fours && i + 4 <= width) {
      const float4 v = Load4(x + i);
      max = fmaxf(max, fmaxf(fmaxf(v.x, v.y), fmaxf(v.z, v.w)));
    } else {
      for (int j = i; j < min(i + 4, width); ++j) max = fmaxf(max, x[j]);
    }
  }
  max = BlockMax(max);
  const auto weight = [&](float value) { return expf((value - max) * scale); };
  float sum = 0.0f;
  for (int i = first; i < width; i += step) {
    if (fours && i + 4 <= width) {
      const float4 v = Load4(x + i), e = make_float4(weight(v.x), weight(v.y), weight(v.z), weight(v.w));
      Store4(y + i, e);
      sum = sum + e.x + e.y + e.z + e.w;
    } else {
      for (int j = i; j < min(i + 4, width); ++j) sum += y[j] = weight(x[j]);
    }
  }
  sum = BlockSum(sum);
  for (int i = first; i < width; i += step) {
    if (fours && i + 4 <= width) {
      const float4 e = Load4(y + i);
      Store4(y + i, make_float4(e.x / sum, e.y / sum, e.z / sum, e.w / sum));
    } else {
      for (int j = i; j < min(i + 4, width); ++j) y[j] /= sum;
    }
  }
}

}  // namespace

void softmax(ops::Backend& backend, ops::Stream stream, const ops::SoftmaxArgs& args) {
  const int64_t rows = args.x.rows(), width = args.x.dim(1);
  if (rows * width == 0) return;
  const float* x = args.x.row<float>(0);
  float* y = args.y.row<float>(0);
  const bool fours = FoursAligned(x, args.x.row_stride()) && FoursAligned(y, args.y.row_stride());
  constexpr int kThreads = 512;  // rows are vocabularies
  Softmax<<<static_cast<unsigned>(rows), kThreads, 0, ContextOf(backend).stream(stream)>>>(
      x, y, args.x.row_stride(), args.y.row_stride(), static_cast<int>(width), args.scale, fours);
  NOSA_CUDA_LAUNCHED();
}

}  // namespace nosa::cuda
