// What the ops on whole sequences share: the form in which a model is learnt, where every token is a query and a key of
// its own sequence, and nothing is cached. A batch is B sequences of T tokens, row b T + t of every tensor being token
// t of sequence b. Which blocks a token reads is a mask per KV head, for which there is no gradient (docs/nosa.md,
// "Selection").
#pragma once

#include "ops/check_views.h"
#include "ops/ops.h"

namespace nosa::ops {

// Blocks of `tokens` tokens, the last one perhaps not full.
inline int64_t BlocksOf(int64_t tokens, int64_t block_size) { return (tokens + block_size - 1) / block_size; }
// Words of 64 bits of a mask over them.
inline int64_t MaskWords(int64_t tokens, int64_t block_size) { return (BlocksOf(tokens, block_size) + 63) / 64; }
// Complete windows of `tokens` tokens: window w ends with token stride w + size - 1.
inline int64_t WindowsOf(int64_t tokens, int64_t size, int64_t stride) {
  return tokens < size ? 0 : (tokens - size) / stride + 1;
}
inline bool MaskBit(const uint64_t* mask, int64_t block) { return (mask[block / 64] >> (block % 64) & 1) != 0; }

// Sizes of a batch, read off its queries: q [B T, H, D].
struct SequenceSizes {
  int64_t rows, sequences, tokens, heads, kv_heads, dim, group;
};
inline SequenceSizes SizesOf(const ConstTensorView& q, int tokens, int64_t kv_heads, const char* name) {
  CheckRank(q, name, 3);
  NOSA_CHECK(tokens > 0 && q.rows() % tokens == 0, "{}: {} rows are no sequences of {} tokens", name, q.rows(), tokens);
  NOSA_CHECK(kv_heads > 0 && q.dim(1) % kv_heads == 0, "{}: {} heads for {} KV heads", name, q.dim(1), kv_heads);
  return {.rows = q.rows(),
          .sequences = q.rows() / tokens,
          .tokens = tokens,
          .heads = q.dim(1),
          .kv_heads = kv_heads,
          .dim = q.dim(2),
          .group = q.dim(1) / kv_heads};
}
inline void CheckPacked(const ConstTensorView& view, const char* name) {
  NOSA_CHECK(view.empty() || view.packed(), "{}: rows lie {} elements apart", name, view.row_stride());
}

}  // namespace nosa::ops
