#include "ops/swiglu.h"

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

template <typename Y>
__global__ void Swiglu(const float* gate, const float* up, Y* y, int64_t gate_stride, int64_t up_stride,
                       int64_t y_stride, int width) {
  LetNextStart();
  WaitForPrevious();
  const int64_t row = blockIdx.y;
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= width) return;
  const float g = gate[row * gate_stride + i];
  StoreFloat(y, row * y_stride + i, g / (1.0f + expf(-g)) * up[row * up_stride + i]);
}

}  // namespace

void swiglu(ops::Backend& backend, ops::Stream stream, const ops::SwigluArgs& args) {
  const int64_t rows = args.y.rows(), width = args.y.RowElements();
  if (rows * width == 0) return;
  Context& context = ContextOf(backend);
  constexpr int kThreads = 256;
  const dim3 grid(static_cast<unsigned>(CeilDiv(width, kThreads)), static_cast<unsigned>(rows));
  DispatchFloat(args.y.dtype(), [&]<typename Y>() {
    Launch(&Swiglu<Y>, grid, dim3(kThreads), 0, context.stream(stream), args.gate.row<float>(0), args.up.row<float>(0),
           args.y.row<Y>(0), args.gate.row_stride(), args.up.row_stride(), args.y.row_stride(),
           static_cast<int>(width));
  });
}

}  // namespace nosa::cuda
