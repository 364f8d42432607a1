// What the kernels of block_attention share: their arguments as plain data, and their launches. Private to the op.
#pragma once

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

// On tensor cores; false when the shapes are not theirs. Which shapes those are depends on nothing but the sizes of the
// model and the device, so that all calls of a model give the same bits.
bool BlockAttentionOnTensorCores(Context& context, ops::Stream stream, const AttentionPlan& plan, DType dtype);

}  // namespace nosa::cuda
