#include "ops/argmax.h"

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

// Of two logits the larger has the larger rank, of two equal ones the one at the lower index; NaN ranks 0.
__device__ unsigned long long Rank(float logit, int i) {
  const uint32_t key = OrderedKey(logit);
  return key == 0 ? 0ull : (static_cast<unsigned long long>(key) << 32) | (0xffffffffu - static_cast<uint32_t>(i));
}

// One block a row.
__global__ void Argmax(const float* logits, TokenId* ids, int64_t stride, int width, bool fours) {
  LetNextStart();
  WaitForPrevious();
  const float* x = logits + blockIdx.x * stride;
  const Greater greater;
  unsigned long long best = 0;
  int i = static_cast<int>(threadIdx.x);
  if (fours) {
#pragma unroll 4
    for (; i < width / 4; i += static_cast<int>(blockDim.x)) {
      const float4 v = Load4(x + 4 * i);
      best = greater(best, greater(greater(Rank(v.x, 4 * i), Rank(v.y, 4 * i + 1)),
                                   greater(Rank(v.z, 4 * i + 2), Rank(v.w, 4 * i + 3))));
    }
    i = width / 4 * 4 + static_cast<int>(threadIdx.x);
  }
  for (; i < width; i += static_cast<int>(blockDim.x)) best = greater(best, Rank(x[i], i));
  best = BlockMax(best);
  if (threadIdx.x == 0) {
    ids[blockIdx.x] = best == 0 ? 0 : static_cast<TokenId>(0xffffffffu - static_cast<uint32_t>(best));
  }
}

}  // namespace

void argmax(ops::Backend& backend, ops::Stream stream, const ops::ArgmaxArgs& args) {
  const int64_t rows = args.logits.rows(), width = args.logits.dim(1);
  if (rows == 0) return;
  const float* logits = args.logits.row<float>(0);
  constexpr int kThreads = 1024;  // a decode step has one row or few
  Launch(&Argmax, dim3(static_cast<unsigned>(rows)), dim3(kThreads), 0, ContextOf(backend).stream(stream), logits,
         args.ids.data(), args.logits.row_stride(), static_cast<int>(width),
         FoursAligned(logits, args.logits.row_stride()));
}

}  // namespace nosa::cuda
