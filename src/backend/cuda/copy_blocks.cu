#include "ops/copy_blocks.h"

#include <algorithm>

#include "backend/cuda/context.h"

namespace nosa::cuda {
namespace {

// Reads host memory over PCIe, so what counts is how many bytes are on their way: every thread has kInFlight 16-byte
// loads out before it stores the first. A few CTAs of this fill the wire; more add nothing (docs/performance.md).
constexpr int kThreads = 512, kInFlight = 8, kWorkers = 8;

__global__ void __launch_bounds__(kThreads) CopyBlocks(const ops::BlockCopy* copies, const int32_t* count, int words) {
  const int n = *count;
  for (int i = static_cast<int>(blockIdx.x); i < n; i += static_cast<int>(gridDim.x)) {
    const int4* from = reinterpret_cast<const int4*>(copies[i].from);
    int4* to = reinterpret_cast<int4*>(copies[i].to);
    for (int first = static_cast<int>(threadIdx.x); first < words; first += kThreads * kInFlight) {
      int4 word[kInFlight];
#pragma unroll
      for (int j = 0; j < kInFlight; ++j) {
        if (first + j * kThreads < words) word[j] = __ldcv(from + first + j * kThreads);
      }
#pragma unroll
      for (int j = 0; j < kInFlight; ++j) {
        if (first + j * kThreads < words) to[first + j * kThreads] = word[j];
      }
    }
  }
}

}  // namespace

void copy_blocks(ops::Backend& backend, ops::Stream stream, const ops::CopyBlocksArgs& args) {
  if (args.most == 0 || args.bytes == 0) return;
  Context& context = ContextOf(backend);
  const int workers = std::min(args.most, args.workers > 0 ? args.workers : kWorkers);
  CopyBlocks<<<static_cast<unsigned>(workers), kThreads, 0, context.stream(stream)>>>(
      args.copies, args.count, static_cast<int>(args.bytes / sizeof(int4)));
  NOSA_CUDA_LAUNCHED();
}

}  // namespace nosa::cuda
