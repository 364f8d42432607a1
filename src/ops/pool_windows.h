// Block summaries: window means of keys and importance, extended as tokens arrive.
#pragma once

#include <span>

#include "ops/kv_rows.h"
#include "ops/ops.h"

namespace nosa::ops {

// Compressed keys lie in tiles of this many windows, [tile][D][kWindowTile], so that a vector lane is a window.
inline constexpr int kWindowTile = 16;

// Summaries of one sequence, layer and KV head.
struct WindowState {
  void* keys = nullptr;    // [ceil(W / kWindowTile), D, kWindowTile] of the summary dtype: window means of k
  float* sigma = nullptr;  // [W] window means of s; null when there is no importance
  // [ks / st, D + 1] f32: running sums of k (D) and s (1) over the last ks / st strides; the stride that
  // holds token t uses row (t / st) mod (ks / st).
  float* carry = nullptr;
};

// Extends the summaries by tokens as they arrive (docs/nosa.md, "Two scores per block"). Reads keys as stored, adds
// tokens in order within a stride and strides in order within a window, divides once: so that rebuilding from the
// cache gives the same bits, whatever the calls were cut into. Window w is written when token st*w + ks - 1 comes.
struct PoolWindowsArgs {
  // Consecutive tokens of one sequence.
  struct Segment {
    int32_t first_pos = 0;  // position of the first token
    int32_t tokens = 0;
    int32_t row_begin = 0;    // its first row in `rows` is row_begin * G
    int32_t state_begin = 0;  // its states are states[state_begin .. state_begin + G)
  };
  std::span<const Segment> segments;    // of different sequences
  std::span<const KvRow> rows;          // [tokens * G] as in StoreKvArgs
  std::span<const WindowState> states;  // [segments * G]
  int kv_heads = 0;
  int head_dim = 0;                   // D
  int kernel_size = 0;                // ks, a multiple of kernel_stride
  int kernel_stride = 0;              // st
  DType kv_dtype = DType::kF32;       // of rows
  DType summary_dtype = DType::kF32;  // of keys: f32 or bf16
};

}  // namespace nosa::ops
