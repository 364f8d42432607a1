// What attention needs to know of a model: numbers only, so that this room knows no checkpoint.
#pragma once

#include <cmath>
#include <cstdint>

#include "base/ids.h"
#include "tensor/dtype.h"

namespace nosa::attention {

// Symbols as in docs/nosa.md.
struct AttentionConfig {
  int layers = 0;
  int heads = 0;           // H
  int kv_heads = 0;        // G
  int head_dim = 0;        // D
  int block_size = 64;     // B, tokens
  int kernel_size = 32;    // ks
  int kernel_stride = 16;  // st
  int init_blocks = 1;     // k_init
  int local_blocks = 16;   // k_local
  int query_topk = 16;     // k_q
  int topk = 64;           // k
  bool has_importance = false;
  DType kv_dtype = DType::kF32;  // of cached keys and values, and of compressed keys

  int group() const { return heads / kv_heads; }
  int windows_per_block() const { return block_size / kernel_stride; }
  int query_blocks() const { return init_blocks + local_blocks + query_topk; }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(head_dim)); }
  // Windows that are complete once `tokens` tokens are there; a query at position t sees WindowsOf(t + 1).
  int WindowsOf(int64_t tokens) const {
    return tokens < kernel_size ? 0 : static_cast<int>((tokens - kernel_size) / kernel_stride) + 1;
  }
};

}  // namespace nosa::attention
