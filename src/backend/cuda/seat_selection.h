// What the kernels of select_blocks share. Private to the op.
#pragma once

#include "backend/cuda/context.h"
#include "ops/select_blocks.h"

namespace nosa::cuda {

// Windows of one warp: the unit of the softmax statistics.
inline constexpr int kPiece = 64;
inline constexpr int kMostGroup = 16;

// SelectBlocksArgs as kernels take them, and memory in between.
struct SelectionPlan {
  const float* q;  // [seats, heads, dim], rows `q_stride` elements apart
  int64_t q_stride;
  const int32_t* positions;
  const ops::WindowState* states;
  ops::SelectionRule rule;
  ops::StepSelection selection;
  ops::SelectionReplay replay;
  int seats, kv_heads, group, dim;
  int block_size, kernel_size, kernel_stride;
  int max_blocks;
  float scale;
  // Per lane: windows and pieces that there is room for.
  int most_windows = 0, most_pieces = 0;
  float* weights = nullptr;  // [lanes, group, most_windows]: exp(logit - maximum of the piece)
  float2* pieces = nullptr;  // [lanes, most_pieces, group]: maximum, sum of exp(logit - maximum)
  uint32_t* keys = nullptr;  // [lanes, 2, max_blocks]: by Q and by E, where a kernel of their own makes them

  __host__ __device__ int lanes() const { return seats * kv_heads; }
  __device__ int WindowsAt(int32_t pos) const {
    return pos + 1 < kernel_size ? 0 : (pos + 1 - kernel_size) / kernel_stride + 1;
  }
  __device__ float* WeightsOf(int lane, int head) const {
    return weights + (static_cast<int64_t>(lane) * group + head) * most_windows;
  }
  __device__ float2* PiecesOf(int lane, int piece) const {
    return pieces + (static_cast<int64_t>(lane) * most_pieces + piece) * group;
  }
  // Pick i of the lane, a block.
  __device__ int Pick(int lane, int i) const {
    const ops::SelectionTrace& trace = replay.trace;
    const int seat = lane / kv_heads;
    const int64_t row =
        static_cast<int64_t>(seat % trace.rows) * trace.steps + (*replay.step + replay.stagger * seat) % trace.steps;
    return rule.init_blocks + trace.picks[(row * trace.lanes + replay.lane + lane % kv_heads) * trace.width + i];
  }
};

// Fills plan.weights and plan.pieces for the windows of every lane.
void WeighSeatWindows(Context& context, cudaStream_t stream, const SelectionPlan& plan, DType summary_dtype);

}  // namespace nosa::cuda
