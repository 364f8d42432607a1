#include "ops/rope.h"

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

// Heads that one thread turns by the same angle: a sine costs far more than a turn, but a decode step has few rows and
// needs threads.
constexpr int kHeads = 4;

struct RopeShape {
  int64_t rows, row_stride;
  int heads, half;
};

// A thread a row, pair of channels and kHeads heads.
__global__ void Rope(float* x, const int32_t* positions, const float* inv_freq, RopeShape shape) {
  LetNextStart();
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int i = static_cast<int>(thread % shape.half);
  const int parts = (shape.heads + kHeads - 1) / kHeads;
  const int first = static_cast<int>(thread / shape.half % parts) * kHeads;
  const int64_t row = thread / shape.half / parts;
  float sine = 0, cosine = 1;
  if (row < shape.rows) sincosf(__fmul_rn(static_cast<float>(positions[row]), inv_freq[i]), &sine, &cosine);
  WaitForPrevious();
  if (row >= shape.rows) return;
  float* at = x + row * shape.row_stride + static_cast<int64_t>(first) * 2 * shape.half + i;
#pragma unroll
  for (int h = 0; h < kHeads; ++h, at += 2 * shape.half) {
    if (first + h >= shape.heads) return;
    const float a = at[0], b = at[shape.half];
    at[0] = a * cosine - b * sine;
    at[shape.half] = b * cosine + a * sine;
  }
}

}  // namespace

void rope(ops::Backend& backend, ops::Stream stream, const ops::RopeArgs& args) {
  const RopeShape shape = {args.x.rows(), args.x.row_stride(), static_cast<int>(args.x.dim(1)),
                           static_cast<int>(args.inv_freq.size())};
  const int64_t threads = shape.rows * CeilDiv(shape.heads, kHeads) * shape.half;
  if (threads == 0) return;
  Context& context = ContextOf(backend);
  const int32_t* positions = context.Stage(args.positions, stream);
  const float* inv_freq = context.Stage(args.inv_freq, stream);
  constexpr int kThreads = 128;
  Launch(&Rope, dim3(GridFor(threads, kThreads)), dim3(kThreads), 0, context.stream(stream), args.x.row<float>(0),
         positions, inv_freq, shape);
}

}  // namespace nosa::cuda
