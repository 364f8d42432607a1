// Attention of many queries to single blocks of the cache; the sparse attention of prefill and decode.
#pragma once

#include <span>

#include "ops/ops.h"
#include "ops/partial_state.h"

namespace nosa::ops {

// One block of the cache and the queries that read it.
struct AttentionTile {
  const void* k = nullptr;   // [block_size, D] of the cache's dtype
  const void* v = nullptr;   // [block_size, Dv] of the cache's dtype
  const float* s = nullptr;  // [block_size] additive bias on the logits; null: none
  int32_t kv_head = 0;
  int32_t first_pos = 0;  // position of the block's first token
  int32_t tokens = 0;     // filled tokens of the block
  int32_t ref_begin = 0;  // its queries are refs[ref_begin .. ref_begin + ref_count); with masks, rows of that range
  int32_t ref_count = 0;
};

// Attention of query rows to blocks, as partial states. For each tile, in order, and each of its refs (row r, state t):
// over the block's tokens j < tokens with first_pos + j <= positions[r] (causal), for the g heads h of the tile's KV
// head,
//   logit[j] = q[r, h] . k[j] * scale + s[j],
//   states[t, h] = merge(states[t, h], partial over this block).
// A device may round q to bf16 first where the cache is bf16 (docs/nosa.md, "Precision"), and the weights either way.
// A part is always one block, computed from its own maximum, so the bits do not depend on how tiles were put into
// calls or groups, nor on threads. Rows with no visible token leave their state alone.
struct BlockAttentionArgs {
  struct Ref {
    int32_t row = 0;
    int32_t state = 0;
  };
  ConstTensorView q;                   // [R, H, D] f32
  std::span<const int32_t> positions;  // [R] tokens
  std::span<const AttentionTile> tiles;
  std::span<const Ref> refs;
  // Tiles of group i are tiles[groups[i] .. groups[i + 1]): run in order by one thread; groups run side by side and
  // must not share a state.
  std::span<const int32_t> groups;  // [groups + 1]
  PartialStates states;
  DType dtype = DType::kF32;  // of k and v: f32 or bf16
  int block_size = 0;         // rows of k and v, tokens
  float scale = 1.0f;
  // Instead of refs, a bit for every row, KV head and block, which is less to build and to send where many rows read
  // many blocks: row r reads a tile of its range when bit first_pos / block_size of masks[r, kv_head] is set, into
  // state r * G + kv_head.
  std::span<const uint64_t> masks = {};  // [R, G, mask_words]; empty: refs say who reads what
  int mask_words = 0;
};

// Reader i of a tile; false when its row's mask leaves the tile out.
inline bool ReaderOf(const BlockAttentionArgs& args, const AttentionTile& tile, int32_t i,
                     BlockAttentionArgs::Ref* reader) {
  if (args.masks.empty()) {
    *reader = args.refs[static_cast<size_t>(tile.ref_begin + i)];
    return true;
  }
  const auto kv_heads = static_cast<int32_t>(args.q.dim(1) / args.states.heads);
  const int32_t row = tile.ref_begin + i, state = row * kv_heads + tile.kv_head,
                block = tile.first_pos / args.block_size;
  *reader = {row, state};
  const auto word = static_cast<size_t>(state) * static_cast<size_t>(args.mask_words) + static_cast<size_t>(block / 64);
  return (args.masks[word] >> (block % 64) & 1) != 0;
}

}  // namespace nosa::ops
