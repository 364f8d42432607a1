#include "ops/block_scores.h"

#include <algorithm>
#include <cmath>

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

// Rows along x; the blocks of a row are shared out along y.
__global__ void BlockScores(const ops::BlockScoresArgs::Row* rows, int windows_per_block) {
  const ops::BlockScoresArgs::Row row = rows[blockIdx.x];
  const int64_t step = static_cast<int64_t>(gridDim.y) * blockDim.x;
  for (int64_t b = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x; b < row.blocks; b += step) {
    const int64_t first = max(int64_t{0}, b * windows_per_block - 1);
    const int64_t last = min((b + 1) * windows_per_block - 1, static_cast<int64_t>(row.windows) - 1);
    float best = -INFINITY;
    for (int64_t w = first; w <= last; ++w) best = best < row.values[w] ? row.values[w] : best;
    row.out[b] = best;
  }
}

}  // namespace

void block_scores(ops::Backend& backend, ops::Stream stream, const ops::BlockScoresArgs& args) {
  if (args.rows.empty()) return;
  Context& context = ContextOf(backend);
  const auto* rows = context.Stage(args.rows, stream);
  // How long rows are only the device may know. Enough blocks to fill it, few enough that short rows cost nothing.
  const auto count = static_cast<int64_t>(args.rows.size());
  const auto shares = static_cast<unsigned>(std::clamp<int64_t>(2 * context.multiprocessors() / count, 1, 16));
  constexpr int kThreads = 256;
  BlockScores<<<dim3(static_cast<unsigned>(count), shares), kThreads, 0, context.stream(stream)>>>(
      rows, args.windows_per_block);
  NOSA_CUDA_LAUNCHED();
}

}  // namespace nosa::cuda
