// How much each query attends to each window of the summaries.
#pragma once

#include <span>

#include "ops/ops.h"
#include "ops/pool_windows.h"

namespace nosa::ops {

// Query-aware window scores: p[r, g, w] = sum over the heads h of KV head g of softmax_w(q[r, h] . c[w, g] * scale),
// the softmax over the visible windows w < rows[r].windows. Entries at or beyond `windows` are unspecified.
struct WindowScoresArgs {
  struct Row {
    int32_t windows = 0;      // visible to this query; may be 0
    int32_t state_begin = 0;  // the sequence's summaries: states[state_begin + g]
  };
  ConstTensorView q;                    // [R, H, D] f32
  std::span<const Row> rows;            // [R]
  std::span<const WindowState> states;  // keys used
  DType summary_dtype = DType::kF32;
  float scale = 1.0f;
  int kv_heads = 0;
  TensorView p;  // [R, G, Wmax] f32, Wmax a multiple of kWindowTile and >= every windows
};

}  // namespace nosa::ops
