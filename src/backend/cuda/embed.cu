#include "ops/embed.h"

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

template <typename T>
__global__ void Embed(const TokenId* ids, const T* table, float* y, int64_t table_stride, int64_t y_stride, int width,
                      bool fours) {
  const T* from = table + ids[blockIdx.x] * table_stride;
  float* to = y + blockIdx.x * y_stride;
  int i = static_cast<int>(threadIdx.x);
  if (fours) {
    for (; i < width / 4; i += static_cast<int>(blockDim.x)) Store4(to + 4 * i, Load4(from + 4 * i));
    i = width / 4 * 4 + static_cast<int>(threadIdx.x);
  }
  for (; i < width; i += static_cast<int>(blockDim.x)) to[i] = LoadFloat(from, i);
}

}  // namespace

void embed(ops::Backend& backend, ops::Stream stream, const ops::EmbedArgs& args) {
  const int64_t rows = args.y.rows(), width = args.y.dim(1);
  if (rows * width == 0) return;
  Context& context = ContextOf(backend);
  const TokenId* ids = context.Stage(args.ids, stream);
  DispatchFloat(args.table.dtype(), [&]<typename T>() {
    const T* table = args.table.row<T>(0);
    const bool fours =
        FoursAligned(table, args.table.row_stride()) && FoursAligned(args.y.row<float>(0), args.y.row_stride());
    constexpr int kThreads = 256;
    // Not started early: it is the first op of a step, and after it kernels may look at what the step before has left
    // (positions, summaries, slots) before they wait for the kernel before them.
    Embed<T><<<static_cast<unsigned>(rows), kThreads, 0, context.stream(stream)>>>(
        ids, table, args.y.row<float>(0), args.table.row_stride(), args.y.row_stride(), static_cast<int>(width), fours);
  });
  NOSA_CUDA_LAUNCHED();
}

}  // namespace nosa::cuda
