// The address arithmetic of cached blocks. Nobody else multiplies these strides.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/ids.h"
#include "ops/kv_rows.h"
#include "tensor/dtype.h"

namespace nosa::kv {

// One block holds block_size tokens of one layer and one KV head (a lane): K[B, Dk], V[B, Dv], then s[B] f32, adjacent.
// One page holds the same block of every lane, lane 0 first, `stride` bytes apart. Plain data.
struct BlockLayout {
  int layers = 0;
  int kv_heads = 0;
  int block_size = 0;         // B, tokens
  int k_dim = 0;              // Dk
  int v_dim = 0;              // Dv
  DType dtype = DType::kF32;  // of k and v
  bool has_importance = false;

  int lanes() const { return layers * kv_heads; }
  int Lane(LayerIdx layer, int kv_head) const { return layer.value * kv_heads + kv_head; }

  size_t KBytes() const { return static_cast<size_t>(block_size) * static_cast<size_t>(k_dim) * DTypeBytes(dtype); }
  size_t VBytes() const { return static_cast<size_t>(block_size) * static_cast<size_t>(v_dim) * DTypeBytes(dtype); }
  size_t SBytes() const { return has_importance ? static_cast<size_t>(block_size) * sizeof(float) : 0; }
  // Bytes of one block as ops read it.
  size_t BlockBytes() const { return RoundUp(KBytes() + VBytes(), sizeof(float)) + SBytes(); }

  const std::byte* K(const std::byte* block) const { return block; }
  const std::byte* V(const std::byte* block) const { return block + KBytes(); }
  const float* S(const std::byte* block) const {
    return has_importance ? reinterpret_cast<const float*>(block + RoundUp(KBytes() + VBytes(), sizeof(float)))
                          : nullptr;
  }
  // Row `token` (0 .. B - 1) of a block, to write into.
  ops::KvRow Row(std::byte* block, int token) const {
    const size_t t = static_cast<size_t>(token);
    return {block + t * static_cast<size_t>(k_dim) * DTypeBytes(dtype),
            block + KBytes() + t * static_cast<size_t>(v_dim) * DTypeBytes(dtype),
            has_importance ? const_cast<float*>(S(block)) + t : nullptr};
  }

  BlockId BlockOf(TokenPos pos) const { return BlockId(pos / block_size); }
  int Blocks(int64_t tokens) const { return static_cast<int>(CeilDiv(tokens, block_size)); }

  friend bool operator==(const BlockLayout&, const BlockLayout&) = default;
};

}  // namespace nosa::kv
