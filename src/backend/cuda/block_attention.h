// What the kernels of block_attention share: their arguments as plain data, and their launches. Private to the op.
#pragma once

#include <algorithm>

#include "backend/cuda/context.h"
#include "ops/block_attention.h"

namespace nosa::cuda {

// BlockAttentionArgs as kernels take them: everything the device can address, sizes for the grid.
struct AttentionPlan {
  const float* q;  // [rows, heads, k_dim], rows `q_stride` elements apart
  int64_t q_stride;
  const int32_t* positions;
  const ops::AttentionTile* tiles;
  const ops::BlockAttentionArgs::Ref* refs;
  const uint64_t* masks;  // null: refs say who reads what
  const int32_t* groups;
  ops::PartialStates states;
  int k_dim;
  int rows;
  int block_size;
  int mask_words;
  float scale;
  int group_count;  // groups of tiles
  int tile_count;
  int ref_count;
  int kv_heads;

  // With masks: whether the row reads the tile; its state.
  __host__ __device__ bool Reads(const ops::AttentionTile& tile, int row) const {
    const int block = tile.first_pos / block_size;
    return (masks[static_cast<int64_t>(StateOf(tile.kv_head, row)) * mask_words + block / 64] >> (block % 64) & 1) != 0;
  }
  __host__ __device__ int StateOf(int kv_head, int row) const { return row * kv_heads + kv_head; }
};

// Whether the shapes are those of the kernels for tensor cores. Blocks of these sizes also keep their rows and biases
// aligned for the copies.
inline bool TensorCoresTake(const AttentionPlan& plan, DType dtype) {
  return dtype == DType::kBF16 && plan.block_size <= 64 && plan.block_size % 16 == 0 &&
         plan.k_dim == plan.states.v_dim && (plan.k_dim == 64 || plan.k_dim == 128) && plan.states.heads <= 64;
}

// Blocks (group, slice) of a kernel whose slices have `pairs` (row, head) pairs. A group's rows are not known here.
// Slices beyond them cost a look at the group's tiles, slices that are missing cost parallelism: enough for all rows,
// but not more than some blocks a multiprocessor.
inline dim3 AttentionGrid(const Context& context, const AttentionPlan& plan, int pairs) {
  const int64_t slices = CeilDiv(plan.rows, pairs / plan.states.heads);
  const int64_t wanted = CeilDiv(int64_t{8} * context.multiprocessors(), plan.group_count);
  return {static_cast<unsigned>(plan.group_count), static_cast<unsigned>(std::min(slices, wanted))};
}

// On tensor cores; false when the shapes, or the device, are not theirs. That depends on nothing but the sizes of the
// model and the device, so that all calls of a model give the same bits: warpgroups where there are any, else warps.
bool BlockAttentionOnWarpgroups(Context& context, ops::Stream stream, const AttentionPlan& plan, DType dtype);
bool BlockAttentionOnTensorCores(Context& context, ops::Stream stream, const AttentionPlan& plan, DType dtype);

}  // namespace nosa::cuda
